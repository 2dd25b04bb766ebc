"""What can happen to a model, what is so, and what is allowed."""
