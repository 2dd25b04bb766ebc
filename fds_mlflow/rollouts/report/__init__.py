"""What is said of a rollout, in words before numbers."""
