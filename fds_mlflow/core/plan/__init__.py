"""A rollout's plan: steps, guardrails and what they measure."""
