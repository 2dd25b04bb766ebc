"""The process that follows the registry, prepares versions and records outcomes."""
