"""Routing and scoring."""
