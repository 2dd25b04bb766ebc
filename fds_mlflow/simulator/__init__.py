"""A simulated shop: its transactions, frauds, and late labels."""
