"""The algorithms: one file each, from a split to a fitted scorer."""
