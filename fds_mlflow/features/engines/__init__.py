"""Engines that compute features: in memory, and file to file."""
