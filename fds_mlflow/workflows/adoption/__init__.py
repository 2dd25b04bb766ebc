"""Taking on a model that is there already, and leaving it as it is."""
