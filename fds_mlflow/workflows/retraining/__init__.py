"""One job from labels to the next release."""
