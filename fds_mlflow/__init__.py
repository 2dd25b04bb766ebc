"""Progressive delivery for fraud models, on nothing but MLflow."""
