"""A rollout as an MLflow run."""
