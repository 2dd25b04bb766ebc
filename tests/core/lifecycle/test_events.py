"""What events are called before people."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from fds_mlflow.cli.output.tables import console, events
from fds_mlflow.core.lifecycle.decision import done
from fds_mlflow.core.lifecycle.events import Event, Kind
from fds_mlflow.notifications.notification import of_event
from fds_mlflow.registry.records import export_line

EVENT = Event(1, "01M8JS2PCEYTKZ7V0WC7NDK5BK", Kind.ADOPT, "ann", "changed outside", datetime(2026, 1, 1, tzinfo=UTC))


def test_what_hands_did_is_called_an_out_of_band_change() -> None:
    """People read of an out-of-band change; every other kind is called by its own word."""
    for kind in Kind:
        assert done(replace(EVENT, kind=kind)).startswith("out-of-band change" if kind is Kind.ADOPT else kind.value)
    shown = console()
    with shown.capture() as text:
        shown.print(events([EVENT]))
    assert "out-of-band change" in text.get()
    assert "adopt" not in text.get()


def test_its_stored_word_stays() -> None:
    """Tags, JSON and notifications keep the word of earlier releases."""
    assert export_line(EVENT)["kind"] == "adopt"
    assert of_event("fraud", EVENT).type == "lifecycle.adopt"
