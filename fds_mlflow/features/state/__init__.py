"""What an online engine remembers of the past, and the stores that keep it."""
