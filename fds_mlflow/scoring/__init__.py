"""A version's scores: from the bytes of a request to a number."""
