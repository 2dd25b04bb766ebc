"""The online engine: what it gives beside the batch, what it costs, and what others give for the same windows."""
