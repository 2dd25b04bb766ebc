"""Generated input: what strangers may send, write and type, and what must hold whatever it is."""
