"""A plan to begin with, explained in its comments."""

from __future__ import annotations

TEMPLATE = """\
# How a rollout proceeds, and what is asked of the canary: the plan of a rollout for which none is named. To use a key
# that is commented out, delete its "#". What it costs: fds plan check FILE --traffic 50/s

# Weights of the canary in percent, strictly rising. At 100 there is no champion left to compare with: that step is
# the completion. A first step of 0 is one in the shadow alone: the canary answers nobody, and is judged by what it
# scores beside the champion.
steps: [10, 25, 50, 100]

# Percentage of the champion's requests that the canary scores as well, without answering them. Alerts, and what labels
# tell, are then judged by requests that both versions scored, unless a guardrail says paired: false.
shadow: 10

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
  latency: {margin: 1.0, quantile: 0.99}
  score_shift: {margin: 1.0, quantile: 0.99}
# These need labels (see label_maturity). Without one that is required, a canary that misses every fraud completes:
#  missed_fraud: {margin: 0.5}
#  false_positives: {margin: 0.5}
#  alert_precision: {margin: 0.1}
#  money_lost: {margin: 0.5, bound: 1000, required: false}

# Outcomes of the canary that a step must have seen before the rollout goes on.
min_outcomes: 100

# How long a step lasts at least: a day has all its hours. Durations: 30m, 12h, 7d, 1h30m.
bake_time: 24h

# How long it may last at most, and how many distinct keys may meet the canary before everything required has passed.
# Left out: as long, and as many, as it takes.
#max_step_time: 7d
#max_canary_keys: 100000

# What to do when either is used up: hold (wait for a person) or abort. Never promote.
undecided: hold

# Weights at which the rollout waits for a person to advance or complete it.
gates: []

# What needs the approval of a second person (fds approve): the start, going past a gate, the completion. Stopping
# never waits.
#approval: [gate, complete]

# Age at which a transaction's label is taken as the truth, and frozen.
#label_maturity: 30d

# After the completion: how long, and with how much traffic, the former champion stays as a control. With rollback:
# true the champion is rolled back by itself when it is shown to be worse.
#watch: {duration: 7d, control: 5, rollback: false}

# A guardrail that needs labels bounds the rollout to its first step until labels of the canary have matured. true:
# go on without them; what a harmful canary costs until it fails: fds plan check.
#advance_unlabelled: true

# Parts of the traffic in which every guardrail is judged as well, by a column of the request: at most 50 values (all
# others are "other"), or edges: [50, 500] for bands of a number. They share this part of alpha.
#segments: {column: country, values: [KR, US], share: 0.5}

# What to do when the champion's requests show that the canary has traffic, and it has no outcome: abort or hold.
silent_canary: abort

# What the alphas of the model's rollouts of one quarter may add up to. Left out: no bound.
#alpha_budget: 0.2

# Which test judges: 2 is today's; 1, that of earlier releases, neither finds a harm that comes late nor bears keys
# that come again. A rollout is judged to its end by the one it began with.
#test: 2
"""
"""A plan in which every key is explained; it reads as `DEFAULT_PLAN`."""
