"""What outcomes add up to: tallies by variant and step, and the arms that are compared."""
