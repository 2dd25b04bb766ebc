"""What the command line and `mlflow run` do with data: read, cut, train, retrain."""
