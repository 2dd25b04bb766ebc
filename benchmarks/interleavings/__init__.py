"""Every interleaving of writers on the registry, explored."""
