"""Generated input for every door: no traceback, no hang, no full memory, no control character, always a way out."""
