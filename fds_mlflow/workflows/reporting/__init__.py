"""A period over models and their rollouts, for people who answer for them."""
