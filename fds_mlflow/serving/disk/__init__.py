"""What a server keeps on its own disk: ready versions, and outcomes on their way."""
