"""What outcomes cost: to record, to label, to count, and to judge when millions are stored."""
