"""The benchmarks' shortcuts compute what the functions themselves say, and the figures they show do not get worse."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.calibration.events import Limits, events_until
from benchmarks.calibration.mixture import mean_to_limit
from benchmarks.calibration.rollouts import (
    LOOK,
    Events,
    Traffic,
    below_success_rate,
    ever_failed,
    in_order,
    mann_whitney,
    traffic,
    z_test,
)
from benchmarks.power import fixed_events
from fds_mlflow.core.statistics.bets import LOG_SHARES, TILTS
from fds_mlflow.core.statistics.sequential import Segment, log_threshold, ratio_evidence

STEPPED = (0.1, 0.25, 0.5)


@pytest.mark.slow
@pytest.mark.parametrize(("weights", "until"), [((0.1,), (2_000,)), (STEPPED, (500, 1_200, 2_000))])
def test_rollouts_fail_where_the_evidence_says_so(weights: tuple[float, ...], until: tuple[int, ...]) -> None:
    """Thousands of rollouts at once are judged as each would be alone, with a look at every event."""
    seen = traffic(np.random.default_rng(3), 0.1, weights, until, 30)
    expected = []
    for rollout in range(30):
        mine = seen.events.rollout == rollout
        counts = np.zeros((len(weights), 2), dtype=int)
        highest = 0.0
        for to_canary, segment in zip(seen.events.to_canary[mine], seen.events.segment[mine], strict=True):
            counts[segment, 0 if to_canary else 1] += 1
            segments = [Segment(w, int(a), int(b)) for w, (a, b) in zip(weights, counts, strict=True)]
            highest = max(highest, ratio_evidence(segments, 1.0, above=True, later=True))
        expected.append(highest >= 0.5)
    assert ever_failed(seen.events, weights, 0.5).tolist() == expected
    assert 0 < sum(expected) < 30


def test_limits_are_where_the_evidence_ends() -> None:
    """So many of the other events the evidence stands and not one more, for FAIL and for PASS."""
    for above in (True, False):
        boundary = 1.0 if above else 1.5
        limits = Limits(0.2, boundary, 0.05, above=above).up_to(60)
        for raising in (25, 40, 60):
            most = int(limits[raising - 1])
            found = []
            for others in (most, most + 1):
                segment = Segment(0.2, raising, others) if above else Segment(0.2, others, raising)
                found.append(ratio_evidence([segment], boundary, above=above, later=above) >= log_threshold(0.05))
            assert found == [True, False]


def test_courses_end_at_the_first_event_that_is_enough() -> None:
    """One event of the canary less, and the evidence would not have been there."""
    canary, champion = events_until(np.random.default_rng(5), 0.1, 1.0, 2.0, 0.05, above=True, courses=40)
    for a, b in zip(canary.tolist(), champion.tolist(), strict=True):
        assert ratio_evidence([Segment(0.1, a, b)], 1.0, above=True, later=True) >= log_threshold(0.05)
        assert ratio_evidence([Segment(0.1, a - 1, b)], 1.0, above=True, later=True) < log_threshold(0.05)


def look(canary: tuple[int, int], champion: tuple[int, int]) -> Traffic:
    """A single look: events and requests of both; the requests must add up to a block."""
    nothing = Events(np.zeros(0, dtype=int), np.zeros(0, dtype=np.int8), np.zeros(0, dtype=bool), 1)
    (a, n), (b, m) = canary, champion
    blocks = (n + m) // LOOK
    at_the_end = np.zeros((1, blocks), dtype=int)
    requests, events, total = at_the_end.copy(), at_the_end.copy(), at_the_end.copy()
    requests[0, -1], events[0, -1], total[0, -1] = n, a, a + b
    return Traffic(nothing, requests, events, total)


@pytest.mark.parametrize(("canary", "champion"), [((5, 100), (20, 900)), ((12, 300), (10, 1_000))])
def test_the_other_rules_are_the_usual_tests(canary: tuple[int, int], champion: tuple[int, int]) -> None:
    """Mann-Whitney on requests with and without an event is SciPy's, and the z-test is the pooled one."""
    from scipy.stats import mannwhitneyu, norm

    values = [np.repeat([1, 0], [events, number - events]) for events, number in (canary, champion)]
    z = norm.isf(mannwhitneyu(*values, alternative="greater", method="asymptotic").pvalue)
    seen = look(canary, champion)
    assert mann_whitney(seen, z - 1e-6).all()
    assert not mann_whitney(seen, z + 1e-6).any()
    (a, n), (b, m) = canary, champion
    pooled = (a + b) / (n + m)
    z = (a / n - b / m) / np.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    assert z_test(seen, z - 1e-9).all()
    assert not z_test(seen, z + 1e-9).any()


def test_the_plain_rule_is_looked_at_after_every_request() -> None:
    """As many rollouts fall below 95 % as when each of 1,000 requests is simulated one by one."""
    fast = below_success_rate(np.random.default_rng(1), 0.04, 0.95, 1_000, 4_000).mean()
    random = np.random.default_rng(2)
    events = np.cumsum(random.random((4_000, 1_000)) < 0.04, axis=1)
    slow = (events > 0.05 * np.arange(1, 1_001))[:, 99:].any(axis=1).mean()
    assert fast == pytest.approx(slow, abs=0.05)


def test_events_are_put_in_the_order_in_which_they_become_known() -> None:
    """Times decide, segments and variants go along, and what never happens is left out."""
    times = np.array([[0.3, np.inf, 0.1], [0.2, 0.4, np.inf]])
    segments = np.array([[2, 0, 1], [0, 1, 0]], dtype=np.int8)
    found = in_order(times, segments, np.array([[True, False, False], [False, True, True]]))
    assert found.rollout.tolist() == [0, 0, 1, 1]
    assert found.segment.tolist() == [1, 2, 0, 1]
    assert found.to_canary.tolist() == [False, True, False, True]


@pytest.mark.parametrize(("weight", "ratio"), [(0.1, 1.5), (0.1, 2.0), (0.01, 4.0), (0.5, 2.0), (0.5, 4.0), (0.1, 4.0)])
def test_a_bad_canary_is_not_waited_for_much_longer_than_need_be(weight: float, ratio: float) -> None:
    """Worked out event by event: the mean stays within 1.4 times the limit that no test goes below."""
    assert 1 < mean_to_limit(weight, ratio, TILTS, LOG_SHARES) <= 1.4


def test_half_of_the_bad_canaries_are_found_before_a_fixed_sample_is_full() -> None:
    """At 10 % and a ratio of 2 the median is at most 0.9 of the events that one look needs."""
    canary, champion = events_until(np.random.default_rng(6), 0.1, 1.0, 2.0, 0.05, above=True, courses=1_000)
    assert np.median(canary + champion) <= 0.9 * fixed_events(0.1, 2.0)
