"""What the evidence says about a plan: measures, labels, harm, verdicts."""
