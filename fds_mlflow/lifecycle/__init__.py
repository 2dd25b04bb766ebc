"""What a person may do with versions: admission, ways back, and what is reported of them."""
