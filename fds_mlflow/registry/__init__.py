"""The MLflow registry as the system of record."""
