"""The page inside the MLflow server."""
