"""The HTTP protocol, and the endpoints."""
