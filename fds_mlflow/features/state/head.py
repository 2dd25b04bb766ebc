"""What a store keeps once, beside the number of arrivals: the layout, since when it knows what it keeps, and notes."""

from __future__ import annotations

from fds_mlflow.features.state.coverage import BEGINNING, IDS, LABELLED, Coverage
from fds_mlflow.features.state.entry import LAYOUT, META, NUMBER, latest_of, number_of
from fds_mlflow.features.state.layout import Layout
from fds_mlflow.features.state.store import Values

_COVERAGE = (META, b"coverage")
LOADING = b"loading"
"""The note about a history that is being loaded into an empty store."""

PARTS = [LAYOUT, NUMBER, _COVERAGE]
"""What is looked at together."""


def join(other: Layout, values: Values) -> tuple[Layout, bytes]:
    """Have what another layout needs kept from now on; the layout of both, and as it is kept.

    Raises:
        ConfigError: They do not go together.
    """
    kept = values.get(*LAYOUT)
    joined = other if kept is None else Layout.from_json(bytes(kept)).joined(other)
    said = joined.to_json()
    if kept is None or said != bytes(kept):
        put_coverage(values, begun(values).gaining(joined, latest_of(values), number_of(values)))
        values.put(*LAYOUT, said)
    return joined, said


def coverage(values: Values) -> Coverage:
    """Since when everything is known."""
    kept = values.get(*_COVERAGE)
    return Coverage() if kept is None else Coverage.from_json(bytes(kept))


def put_coverage(values: Values, known: Coverage) -> None:
    """Say since when."""
    values.put(*_COVERAGE, known.to_json())


def begun(values: Values) -> Coverage:
    """Note when the first transaction arrived, where one has: no later than the latest one did by now."""
    known = coverage(values)
    if known.begin is None and number_of(values):
        known = known.beginning(latest_of(values))
        put_coverage(values, known)
    return known


def accept(values: Values) -> None:
    """Say that nothing came before what is here."""
    known = coverage(values)
    put_coverage(values, known.reaching(known.since, BEGINNING))


def lose(records: int, labels: int, ids: int, values: Values) -> None:
    """Say what is no longer known, once what is not later than some times is removed, microseconds."""
    known, number = begun(values), number_of(values)
    for one in known.since:
        known = known.losing(one, ids if one == IDS else labels if one.endswith(LABELLED) else records, number)
    put_coverage(values, known)


def note(values: Values, name: bytes) -> bytes | None:
    """What was noted under a name."""
    kept = values.get(META, name)
    return None if kept is None else bytes(kept)


def put_note(values: Values, name: bytes, said: bytes) -> None:
    """Note something."""
    values.put(META, name, said)


def drop_note(values: Values, name: bytes) -> None:
    """Forget a note."""
    values.delete(META, name)
