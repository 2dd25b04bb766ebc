"""What people write and read: durations, numbers, names."""
