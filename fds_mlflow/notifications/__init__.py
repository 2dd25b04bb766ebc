"""Who is notified of what happened: hooks and webhooks."""
