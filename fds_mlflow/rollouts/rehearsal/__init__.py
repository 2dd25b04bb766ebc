"""A plan rehearsed on history."""
