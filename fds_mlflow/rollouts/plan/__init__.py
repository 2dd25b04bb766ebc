"""Plans as files, and what they cost."""
