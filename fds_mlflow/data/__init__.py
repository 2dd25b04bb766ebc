"""What a transaction is, wherever it comes from: schemas and readers."""
