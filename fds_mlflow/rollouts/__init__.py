"""A rollout from its start to its end: canary, autopilot, record, report, rehearsal."""
