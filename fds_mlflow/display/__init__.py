"""What of a text may be shown: no secrets, and no characters that act on whoever shows it."""
