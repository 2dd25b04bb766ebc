"""Outcomes and labels in SQLAlchemy tables."""
