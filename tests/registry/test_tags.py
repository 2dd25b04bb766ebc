"""The tag grammar: whatever is written reads back the same, fits, and what a hand has damaged is named."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fds_mlflow.cli.output.plain import plain
from fds_mlflow.core.lifecycle.events import (
    AliasNames,
    Asked,
    Ending,
    Event,
    Kind,
    Policy,
    Rollout,
    RolloutStatus,
)
from fds_mlflow.core.plan.approval import Approval, to_approvals
from fds_mlflow.core.plan.plan import MAX_ENCODED, Plan, Watch
from fds_mlflow.core.weight import FULL, to_percent
from fds_mlflow.errors import ConfigError
from fds_mlflow.registry import tags
from fds_mlflow.registry.grammar import MAX_VALUE
from fds_mlflow.registry.history import Pack, doubles, in_flight, pack, read_history
from fds_mlflow.registry.records import export_line, import_line
from fds_mlflow.registry.tags import Intent, Precondition
from fds_mlflow.registry.texts import MAX_ACTOR, MAX_REASON, checked_actor, checked_reason

ULID = "01JGFJJZ000000000000000000"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
EVENT = Event(1, ULID, Kind.PROMOTE, "ann", "first model", NOON, None, 1)
FOUND = Precondition(None, None, (0, ""), "")

ulids = st.text("0123456789ABCDEFGHJKMNPQRSTVWXYZ", min_size=26, max_size=26)
texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=50)
versions = st.none() | st.integers(1, 10**6)
times = st.datetimes(
    datetime(2000, 1, 1),  # noqa: DTZ001 - hypothesis takes bounds without a zone
    datetime(2999, 1, 1),  # noqa: DTZ001
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=9)), timezone(timedelta(hours=-3.5))]),
)
plans = st.builds(
    Plan,
    st.lists(st.integers(1, FULL).map(to_percent), min_size=1, max_size=6, unique=True).map(sorted),
    min_outcomes=st.integers(1, 10**6),
    alpha=st.floats(0.001, 0.5),
    max_canary_keys=st.none() | st.integers(1, 10**9),
)
rollouts = st.builds(
    Rollout,
    id=ulids,
    champion=st.integers(1, 10**6),
    canary=st.integers(1, 10**6),
    plan=plans,
    weight=st.integers(0, FULL),
    step=st.integers(0, 1_000),
    since=times,
    status=st.sampled_from(RolloutStatus),
    paused=st.none() | times,
)
policies = st.builds(Policy, st.lists(st.sampled_from(Approval), unique=True).map(lambda a: to_approvals("a", a)))
asked = st.builds(
    Asked,
    kind=st.sampled_from(Kind),
    version=versions,
    weight=st.none() | st.integers(0, FULL),
    forced=st.booleans(),
    plan=st.just("") | plans.map(lambda plan: json.dumps(plan.to_dict(), separators=(",", ":"), sort_keys=True)),
    is_watch=st.booleans(),
    names=st.none() | st.just(AliasNames("prod", "trial")),
    policy=st.none() | policies,
    versions=st.text("0123456789abcdef", max_size=32),
    terms=st.text("0123456789abcdef", max_size=32),
    state=st.text("0123456789abcdef", max_size=32),
    later=st.sampled_from(["", '{"of_a_later_release":1}']),
)
events = st.builds(
    Event,
    sequence=st.integers(1, 99_999_999),
    operation=ulids,
    kind=st.sampled_from(Kind),
    actor=texts,
    reason=texts | st.just('"\\\n\t</>'),
    time=times,
    from_version=versions,
    to_version=versions,
    rollout=st.none() | rollouts,
    outcome=st.sampled_from(Ending),
    forced=st.booleans(),
    asked=st.none() | asked,
    answers=st.just("") | ulids,
    policy=st.none() | policies,
)


def starts(*written: Event) -> list[Event]:
    """The starts of the rollouts that events are about, by which their plans are known."""
    about = [event.rollout for event in written if event.rollout is not None]
    return [
        replace(EVENT, sequence=10**8, operation=f"{number:026d}", kind=Kind.START, rollout=rollout)
        for number, rollout in enumerate(about)
    ]


def tagged(*written: Event) -> dict[str, str]:
    """The tags of loose events."""
    return dict(tags.event_tag(event) for event in written)


# --- round trips -----------------------------------------------------------------------------------------------------


@given(st.lists(events, max_size=6, unique_by=lambda event: event.operation))
def test_events_read_back_in_order(written: list[Event]) -> None:
    """Every field of every event survives its tag, whatever the order of the tags, and comes by sequence."""
    written += starts(*written)
    found = read_history(dict(reversed(tagged(*written).items())))
    assert list(found.events) == sorted(written, key=lambda event: (event.sequence, event.operation))
    assert set(found.loose.values()) == set(written)
    assert (found.damaged, found.intents, found.packed) == ((), (), frozenset())


@given(rollouts)
def test_rollouts_read_back(rollout: Rollout) -> None:
    """A rollout survives the canary version's tag, to the basis point and the microsecond."""
    value = tags.encode_rollout(rollout)
    assert tags.decode_rollout(value) == rollout
    assert tags.digest(value) != tags.digest(None) == ""


founds = st.builds(
    Precondition,
    champion=versions,
    canary=versions,
    last=st.tuples(st.integers(0, 10**8), ulids | st.just("")),
    rollout=st.text("0123456789abcdef", max_size=16),
)


intents = st.builds(
    Intent,
    id=ulids,
    actor=texts,
    found=founds,
    event=st.none() | events,
    time=times,
    take_over=st.booleans(),
).map(lambda i: replace(i, event=None if i.event is None else replace(i.event, sequence=0, operation=i.id)))


@given(intents)
def test_intents_read_back(intent: Intent) -> None:
    """What an operation found and will write survives its intent, so that another process can settle it."""
    name, value = tags.intent_name(intent.id), tags.encode_intent(intent)
    known = tagged(*starts(*([intent.event] if intent.event else [])))
    assert read_history({name: value, **known}).intents == (intent,)
    assert in_flight({name: value, "other": "x", **known}) == [intent]


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(events, min_size=1, max_size=12, unique_by=lambda event: event.operation))
def test_packs_read_back(written: list[Event]) -> None:
    """Packed events are the very events, in order, and the pack is named by the first and last of them."""
    ordered = sorted(written, key=lambda event: event.sequence)
    made = pack(ordered)
    packed = list(made.events)
    assert packed == ordered[: len(packed)]
    assert made.looked == len(packed) >= 1
    assert made.name == f"fds.events.{packed[0].sequence:08d}-{packed[-1].sequence:08d}"
    assert len(made.value) <= MAX_VALUE
    found = read_history({made.name: made.value, **tagged(*starts(*packed))})
    assert found.packs == {made.name: made.events}
    assert found.damaged == ()


@given(events)
def test_an_export_reads_back(event: Event) -> None:
    """An exported event is plain JSON with its sequence and operation in it."""
    line = json.loads(json.dumps(export_line(event)))
    assert import_line(line) == event


# --- packs and doubles -----------------------------------------------------------------------------------------------


def test_an_event_both_loose_and_packed_counts_once() -> None:
    """A pack written before its loose events were removed doubles nothing."""
    written = [replace(EVENT, sequence=n, operation=f"{n:026d}") for n in range(1, 6)]
    packed = pack(written[:3])
    found = read_history({**tagged(*written), packed.name: packed.value})
    assert list(found.events) == written
    assert found.packed == frozenset((f"{n:026d}", Kind.PROMOTE) for n in range(1, 4))


def test_two_events_with_one_number_stay_visible() -> None:
    """If the exclusion ever failed, both events are there to be seen, and named as doubles."""
    twins = [replace(EVENT, operation=f"{n:026d}") for n in (1, 2)]
    found = read_history(tagged(*twins))
    assert list(found.events) == twins
    assert doubles(found.events) == {1: twins}
    assert doubles(found.events[:1]) == {}


def _wide(number: int, size: int) -> Event:
    """An event whose reason hardly compresses."""
    reason = "".join(chr(0x4E00 + (number * 7_919 + i * i * 31) % 20_000) for i in range(size // 3))
    return replace(EVENT, sequence=number, operation=f"{number:026d}", reason=reason)


def test_a_pack_takes_as_many_as_fit() -> None:
    """Large events fill a pack up to the limit, and the rest goes into the next one."""
    rest = [_wide(number, 1_000) for number in range(1, 20)]
    there: list[Event] = []
    while rest:
        packed = pack(rest)
        assert packed.name
        assert len(packed.value) <= MAX_VALUE
        there += read_history({packed.name: packed.value}).events
        rest = rest[packed.looked :]
    assert [event.sequence for event in there] == list(range(1, 20))


def test_an_event_too_large_for_a_pack_stays_loose() -> None:
    """What a pack cannot hold is passed over, not lost: it is looked at and stays where it is."""
    giant = replace(EVENT, reason="".join(chr(0x4E00 + (i * i * 31) % 20_000) for i in range(4_500)))
    small = replace(EVENT, sequence=2, operation=f"{2:026d}")
    assert pack([giant]) == Pack("", "", (), 1)
    packed = pack([giant, small])
    assert packed.looked == 2
    assert packed.events == (small,)
    assert packed.name == "fds.events.00000002-00000002"


# --- sizes -----------------------------------------------------------------------------------------------------------


def _largest(kind: Kind, reason: str, actor: str) -> list[str]:
    """The values of the tags of an event that is as large as one may be, in its rollout's longest plan."""
    plan = Plan([n / 100 for n in range(1, 580)], alpha=1 / 3)
    assert MAX_ENCODED * 0.95 < len(json.dumps(plan.to_dict(), separators=(",", ":"))) <= MAX_ENCODED
    rollout = Rollout(ULID, 123_456, 123_457, plan, 3_333, 59, NOON, RolloutStatus.ROLLED_BACK)
    event = replace(EVENT, kind=kind, reason=reason, actor=actor, rollout=rollout, forced=True)
    found = Precondition(1, 2, (9_999_999, ULID), "f" * 16)
    intent = Intent(ULID, event.actor, found, replace(event, sequence=0), NOON, True)
    return [tags.event_tag(event)[1], tags.encode_intent(intent), tags.encode_rollout(rollout, event)]


@pytest.mark.parametrize("character", ["x", '"', "\\", "\n", "é", "顧", "🂡"])
def test_the_longest_reason_and_actor_fit_into_every_tag(character: str) -> None:
    """1,000 bytes of reason and 200 of actor fit beside the longest plan, however JSON escapes them."""
    reason = checked_reason(character * (MAX_REASON // len(character.encode())))
    actor = character * (MAX_ACTOR // len(character.encode()))
    made = _largest(Kind.EMERGENCY, reason, actor if actor.strip() else "ann")
    assert all(len(value) <= MAX_VALUE for value in made)


def test_a_start_may_say_as_much_as_its_plan() -> None:
    """1,000 bytes of reason fit beside the longest plan into what starts a rollout; where JSON must escape many of
    them, it is refused before anything is written.
    """
    assert all(len(value) <= MAX_VALUE for value in _largest(Kind.START, "x" * MAX_REASON, "a" * MAX_ACTOR))
    with pytest.raises(ConfigError, match="more than the 4,900") as error:
        _largest(Kind.START, '"' * MAX_REASON, '"' * MAX_ACTOR)
    assert error.value.fix == "shorten the reason or the plan"


def test_a_plan_of_an_older_release_reads_without_what_is_gone() -> None:
    """Rollouts that were judged by a plain rule keep their history: the rule's two settings are left out."""
    values = json.loads(tags.encode_rollout(Rollout(ULID, 1, 2, Plan([5, 100], min_outcomes=7), 500, 0, NOON)))
    values["plan"] |= {"min_success_rate": 0.95, "max_success_drop": 0.01}
    rollout = tags.decode_rollout(json.dumps(values))
    assert rollout is not None
    assert rollout.plan == Plan([5, 100], min_outcomes=7)
    values["plan"]["min_sucess_rate"] = 0.95
    assert tags.decode_rollout(json.dumps(values)) is None


@pytest.mark.parametrize(("test", "named"), [(1, ""), (2, '"test":2,')])
def test_a_watch_reads_and_writes_as_earlier_releases_have_it(test: int, named: str) -> None:
    """That a rollout is a watch stands in its tag's plan, as `control`, in both directions to the letter.

    Of the test that judges it only a later one than theirs is named.
    """
    plan = Plan([5], max_step_time="7d", watch=Watch(timedelta(days=7), 5), test=test)
    watch = Rollout(ULID, 2, 1, plan, 500, 0, NOON, is_watch=True)
    written = (
        f'{{"id":"{ULID}","champion":2,"canary":1,"weight":500,"step":0,"since":"2026-01-01T12:00:00.000000+00:00",'
        '"status":"active","plan":{"steps":[5],"max_step_time":"7d","watch":{"duration":"7d","control":5},'
        f'{named}"control":true}}}}'
    )
    assert tags.encode_rollout(watch) == written
    assert tags.decode_rollout(written) == watch
    event = replace(EVENT, rollout=watch)
    assert import_line(json.loads(json.dumps(export_line(event)))) == event
    assert plain(watch)["plan"]["control"] is True
    assert "control" not in plain(replace(watch, is_watch=False))["plan"]
    assert tags.decode_rollout(written.replace("true", '"yes"')) is None


@pytest.mark.parametrize(
    ("reason", "says"),
    [
        ("x" * 1_001, "1,001 bytes, more than the 1,000"),
        ("é" * 501, "1,002 bytes"),
        ("x" * 6_000, "6,000 bytes"),
        ("null \x00 byte", "control characters"),
        ("\x1b[31mred", "control characters"),
        ("\x7f", "control characters"),
        ("carriage\rreturn", "control characters"),
        ("lone \ud800 surrogate", "not valid Unicode"),
    ],
)
def test_a_reason_that_cannot_stand_in_a_tag_is_refused(reason: str, says: str) -> None:
    """Too long, control characters, broken Unicode: refused with the numbers and the fix."""
    with pytest.raises(ConfigError, match=says) as error:
        checked_reason(reason)
    assert error.value.fix


@pytest.mark.parametrize("reason", ["", "x" * 1_000, "é" * 500, "line\nbreak\ttab", "顧客 🂡", "  "])
def test_a_reason_may_be_anything_else(reason: str) -> None:
    """Empty, at the limit, several lines, any script."""
    assert checked_reason(reason) == reason


@pytest.mark.parametrize("actor", ["", "  ", "\n", "x" * 201, "a\x00"])
def test_an_actor_is_somebody(actor: str) -> None:
    """An empty or overlong actor is refused, with the way to set it."""
    with pytest.raises(ConfigError):
        checked_actor(actor)


@given(st.text(max_size=40))
def test_whatever_is_accepted_can_be_written_and_read(reason: str) -> None:
    """A reason that passes the check survives its tag; all others are refused with one of our errors."""
    try:
        checked = checked_reason(reason)
    except ConfigError:
        return
    assert read_history(tagged(replace(EVENT, reason=checked))).events[0].reason == reason


def test_a_time_without_a_zone_is_a_mistake_of_the_caller() -> None:
    """Naive times are never guessed to be UTC."""
    with pytest.raises(TypeError, match="timezone-aware"):
        tags.event_tag(replace(EVENT, time=datetime(2026, 1, 1)))  # noqa: DTZ001


# --- damage ----------------------------------------------------------------------------------------------------------

NAME, VALUE = tags.event_tag(EVENT)
PACK_NAME, PACK_VALUE = pack([EVENT]).name, pack([EVENT]).value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (NAME, ""),
        (NAME, "not json"),
        (NAME, "[]"),
        (NAME, "null"),
        (NAME, "{}"),
        (NAME, VALUE.replace("promote", "promoted")),
        (NAME, VALUE.replace("done", "nearly")),
        (NAME, VALUE.replace('"time":"2026', '"time":"last 2026')),
        (f"fds.event.1.{ULID}", VALUE),
        (f"fds.event.00000001.{ULID.lower()}", VALUE),
        ("fds.event.00000001", VALUE),
        (PACK_NAME, PACK_VALUE[:-9]),
        (PACK_NAME, "not base 85 !!"),
        (PACK_NAME, ""),
        ("fds.events.1-2", PACK_VALUE),
        (f"fds.intent.{ULID}", "{}"),
        (f"fds.intent.{ULID}", "gone"),
        ("fds.intent.short", "{}"),
    ],
)
def test_damaged_tags_are_named_and_the_rest_still_reads(name: str, value: str) -> None:
    """A tag of ours that a hand has edited never breaks the history, and is never dropped in silence."""
    healthy = replace(EVENT, sequence=2, operation=f"{2:026d}")
    found = read_history({name: value, **tagged(healthy)})
    assert found.damaged == (name,)
    assert found.events == (healthy,)


@pytest.mark.parametrize(
    ("field", "value"),
    [("to", "two"), ("from", [1]), ("to", 1.5), ("actor", 7), ("reason", None), ("time", "2026-01-01T12:00:00")],
)
def test_a_field_of_another_type_is_damage(field: str, value: object) -> None:
    """A version that is no number, or a time without a zone, is named as damaged and breaks nothing later."""
    assert read_history({NAME: json.dumps({**json.loads(VALUE), field: value})}).damaged == (NAME,)


@given(
    st.text(max_size=60)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.integers(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["kind", "rollout", "plan", "found", "last"]), inner)
        ),
    ).map(json.dumps)
)
def test_no_value_breaks_the_reader(value: str) -> None:
    """Whatever stands in our tags, reading them names it or reads it, and never raises."""
    names = (NAME, PACK_NAME, f"fds.intent.{ULID}")
    found = read_history(dict.fromkeys(names, value))
    assert found.damaged == tuple(sorted(names))
    assert tags.decode_rollout(value) is None


@pytest.mark.parametrize("name", ["fds.threshold", "fds.algorithm", "team", "fds", "event.1", "mlflow.note"])
def test_other_peoples_tags_are_left_alone(name: str) -> None:
    """Tags outside the history's names are neither read nor called damaged."""
    assert read_history({name: "x"}).damaged == ()


@pytest.mark.parametrize(
    "value",
    [None, "", "{}", "[]", "null", '{"weight":10001}', "{}}", json.dumps({"id": "R", "champion": "one"})],
)
def test_a_rollout_tag_that_does_not_read_is_no_rollout(value: str | None) -> None:
    """A canary whose rollout nobody can read gets no traffic."""
    assert tags.decode_rollout(value) is None


@pytest.mark.parametrize("weight", [-1, 10_001, 0.5, "1000", None])
def test_a_weight_out_of_range_is_no_rollout(weight: object) -> None:
    """A weight edited to something impossible makes the canary inert rather than over-served."""
    values = json.loads(tags.encode_rollout(Rollout(ULID, 1, 2, Plan(), 1_000, 0, NOON)))
    assert tags.decode_rollout(json.dumps({**values, "weight": weight})) is None
