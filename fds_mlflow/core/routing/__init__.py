"""Who answers a key."""
