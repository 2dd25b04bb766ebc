"""How often a good canary is failed, and a harmful one passed."""
