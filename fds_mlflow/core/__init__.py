"""Pure decisions: no mlflow, no clock, no environment, no I/O, no randomness."""
