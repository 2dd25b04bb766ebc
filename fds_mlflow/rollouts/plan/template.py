"""A plan to begin with, explained in its comments."""

from __future__ import annotations

TEMPLATE = """\
# How a rollout proceeds, and what is asked of the canary. Every key has the default shown here; to use one that is
# commented out, delete its "#". What the plan's margins cost: fds plan check FILE --traffic 50/s

# Weights of the canary in percent, strictly rising. At 100 there is no champion left to compare with: that step
# is the completion.
steps: [10, 25, 50, 100]

# Chance that a good canary is ever failed, over the whole rollout, however often somebody looks. It is split evenly
# over the guardrails.
alpha: 0.05

# What the canary must not do. FAIL: shown to be harmful. PASS: shown not to be; completion needs it of every guardrail
# that is required. Between the two it is undecided.
#   margin:      how much worse than the champion is tolerated; relative for rates and money (0.5: up to 1.5 times the
#                champion's) and quantiles, a difference for the mean of score_shift and for alert_precision (0.05: by
#                up to 0.05)
#   limit:       rate of the canary from which it is harmful whatever the champion does (event rates; milliseconds of
#                a latency's quantile)
#   negligible:  rate of the canary below which it is harmless whatever the ratio says (as limit)
#   required:    false: its FAIL aborts, but completion does not wait for its PASS
#   side:        alert_rate and score_shift only: higher, lower or both (the default) harm
#   bound:       latency: milliseconds above which a request is slow; money_lost: cap of one loss
#   quantile:    latency, instead of a bound: the quantile that is compared, such as 0.99. score_shift, instead of the
#                mean: compared are the shares of scores above the champion's quantile, up and down
#   paired:      true: judge by requests that both versions scored (shadow evidence), not by the split traffic
guardrails:
  error_rate: {margin: 1.0, negligible: 0.002}
  alert_rate: {margin: 0.5}
  score_shift: {margin: 0.05}
#  latency: {margin: 0.5, quantile: 0.99, negligible: 5}
# These need labels (see label_maturity):
#  missed_fraud: {margin: 0.5}
#  false_positives: {margin: 0.5}
#  alert_precision: {margin: 0.1}
#  money_lost: {margin: 0.5, bound: 1000, required: false}

# Outcomes of the canary that a step must have seen before the rollout goes on.
min_outcomes: 100

# How long a step lasts at least. Durations: 30m, 12h, 7d, 1h30m.
bake_time: 0s

# How long it may last at most, and how many distinct keys may meet the canary before everything required has passed.
# Left out: as long, and as many, as it takes.
#max_step_time: 7d
#max_canary_keys: 100000

# What to do when either is used up: hold (wait for a person) or abort. Never promote.
undecided: hold

# Weights at which the rollout waits for a person to advance or complete it.
gates: []

# Age at which a transaction's label is taken as the truth, and frozen.
#label_maturity: 30d

# After the completion: how long, and with how much traffic, the former champion stays as a control. With rollback:
# true the champion is rolled back by itself when it is shown to be worse.
#watch: {duration: 7d, control: 5, rollback: false}
"""
"""A plan in which every key is explained; it reads as the default plan."""
