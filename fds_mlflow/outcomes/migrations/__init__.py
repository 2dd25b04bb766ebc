"""Alembic migrations of the outcome store."""
