"""From a file of transactions to a logged MLflow run."""
