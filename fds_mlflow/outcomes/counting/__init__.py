"""Running counts of outcomes: what has been counted, in which bins and strata."""
