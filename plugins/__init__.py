"""Adapters for MLflow entry points: one file each."""
