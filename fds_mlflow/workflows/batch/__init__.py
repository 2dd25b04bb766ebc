"""Scores of many rows at once, on this machine or on Spark: the same versions, the same split, the same numbers."""
