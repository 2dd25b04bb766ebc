"""What is recorded of a version's files: the history has the last word, the tag counts where it is silent."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fds_mlflow.core.lifecycle.events import Ending, Event, Kind
from fds_mlflow.errors import RefusedError
from fds_mlflow.registry import tags
from fds_mlflow.registry.history import read_history
from fds_mlflow.registry.recorded import looked_at, recorded
from fds_mlflow.registry.store import VersionView
from fds_mlflow.registry.tags import Intent, Precondition, encode_intent, event_tag, intent_name
from tests.support.effort import at_most

NOW = datetime(2026, 3, 1, tzinfo=UTC)
ULID = "01ARZ3NDEKTSV4RRFFQ69G5F"
ONE, TWO = "sha256:" + "1" * 64, "sha256:" + "2" * 64


def view(number: int = 3, *, created: datetime = NOW, **said: str) -> VersionView:
    """A version with these tags."""
    return VersionView(number, "READY", "None", said, None, "models:/m-1", created)


def event(sequence: int, files: str | None, **more: object) -> Event:
    """A promotion of version 3 that looked at these files."""
    plain = Event(sequence, f"{ULID}{sequence:02d}", Kind.PROMOTE, "ann", "", NOW, None, 3, files=files)
    return replace(plain, **more)  # type: ignore[arg-type]


def told(*events: Event, of: VersionView | None = None, in_flight: Event | None = None) -> tuple[object, ...]:
    """Digest, by whom, trust and admission, through the tags as a registry keeps them."""
    kept = dict(map(event_tag, events))
    if in_flight is not None:
        intent = Intent(in_flight.operation, "ann", Precondition(None, None, (0, ""), ""), in_flight, NOW)
        kept[intent_name(intent.id)] = encode_intent(intent)
    known = recorded(read_history(kept), of or view())
    return known.digest, known.event is not None, known.trusted, known.admitted


def test_the_history_has_the_last_word() -> None:
    """A tag counts until an event says which files were looked at; the last event counts, and one in flight as well."""
    first, second = event(1, looked_at(ONE, view())), event(2, looked_at(TWO, view()))
    assert told() == (None, False, None, False)
    assert told(of=view(**{tags.FILES: TWO})) == (TWO, False, None, False)
    assert told(first, of=view(**{tags.FILES: TWO})) == (ONE, True, None, False)
    assert told(first, second) == (TWO, True, None, False)
    assert told(first, in_flight=second) == (TWO, True, None, False)


def test_what_did_not_happen_or_was_another_version_says_nothing() -> None:
    """Operations that did not take effect, other numbers, and a number that was given again."""
    assert told(event(1, looked_at(ONE, view()), outcome=Ending.ABANDONED)) == (None, False, None, False)
    assert told(event(1, looked_at(ONE, view()), to_version=4)) == (None, False, None, False)
    again = view(created=datetime(2026, 4, 1, tzinfo=UTC))
    assert told(event(1, looked_at(ONE, view())), of=again) == (None, False, None, False)


def test_trust_is_of_these_files_and_of_the_past() -> None:
    """Who allows code allows these very files; a version that a release without digests gave traffic goes on."""
    trusting = event(1, looked_at(ONE, view()), trusted=True)
    assert told(trusting) == (ONE, True, ONE, False)
    later = told(trusting, event(2, looked_at(TWO, view())))
    assert later == (TWO, True, ONE, False)
    earlier = recorded(read_history(dict([event_tag(event(1, None))])), view())
    assert earlier.allows_code(ONE)
    assert told(event(1, None, kind=Kind.STAGE)) == (None, False, None, False)
    known = recorded(read_history(dict(map(event_tag, (trusting, event(2, looked_at(TWO, view())))))), view())
    assert (known.allows_code(ONE), known.allows_code(TWO)) == (True, False)


def test_other_files_are_refused_and_the_fix_is_named() -> None:
    """The refusal shows both digests and says what to do; without a digest nothing is refused."""
    known = recorded(read_history({}), view(**{tags.FILES: ONE}))
    known.require(ONE)
    recorded(read_history({}), view()).require(TWO)
    with pytest.raises(RefusedError, match=r"not those that were recorded.*sha256:2222.*sha256:1111") as caught:
        known.require(TWO)
    assert "register" in caught.value.fix


@at_most(60)
@given(value=st.text())
def test_a_tag_that_says_anything_else_matches_no_files(value: str) -> None:
    """A tag that was overwritten with anything is no way past the check."""
    with pytest.raises(RefusedError):
        recorded(read_history({}), view(**{tags.FILES: value})).require(ONE)


def test_files_and_trust_survive_the_tags() -> None:
    """Both are in an event's tag and come back; an event of an earlier release has neither and reads as it did."""
    given_event = event(7, looked_at(ONE, view()), trusted=True)
    name, value = event_tag(given_event)
    assert read_history({name: value}).events == (given_event,)
    name, value = event_tag(event(7, None))
    assert '"files"' not in value
    assert '"trusted"' not in value
    assert read_history({name: value.replace('"reason"', '"trusted":"no","reason"')}).events[0].trusted is False
