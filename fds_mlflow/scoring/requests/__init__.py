"""Requests as rows: the formats, and how each value is read."""
