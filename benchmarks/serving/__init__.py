"""The server beside others, under load."""
