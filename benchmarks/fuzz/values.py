"""Single values as people give them: durations, rates, numbers, parameters, addresses, settings of the environment."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.fuzz import mutate
from benchmarks.fuzz.target import Target

SAMPLES: dict[str, tuple[str, ...]] = {
    "duration": ("30m", "1h30m", "7d", "0s", "52w"),
    "rate": ("50/s", "2000/m", "1e6/d", "0.5 / h"),
    "weight": ("10", "0.01", "100", "33.33"),
    "parameter": ("learning_rate=0.1", 'monotone_constraints={"amount": 1}', "a=[1, 0]", "p=dart", "n=1_000", "x=None"),
    "entries": ("1,0,-1", "a, b", "[1, 2]"),
    "json": ('{"a": 1, "b": {"c": [1, 2]}}', "[]"),
    "database": (
        "sqlite:///file.db",
        "sqlite://",
        "postgresql://user:password@host/database",
        "postgresql+psycopg://u:p%40@h:5432/d?sslmode=require",
        "sqlite+aiosqlite:///a.db?timeout=5&uri=true",
        "mysql://h/d",
    ),
    "webhook": ("https://example.com/hooks/fraud?key=1", "http://user:pass@127.0.0.1:5000/", "http://[::1]:80/a"),
    "secret": ("whsec_" + "QUFB" * 12, "whsec_" + "QUFB" * 12 + " " + "QkJC" * 10),
    "hook": ("my_team.hooks:tell",),
    "key": ("TX1", "1000.0", "7"),
    "seed": ("0", "42", "4294967295"),
    "score": ('{"call": "predict_proba", "take": [1]}', '{"take": ["score"]}', "{}"),
    "simulator": ("simulator:500", "simulator:5_000"),
    "shown": (
        "failed: postgresql://u:p@h:5432/d?a=b\n",
        "token=abc, Bearer x1y2z3",
        "://u:",
        "http://u:p w@h 12 ",
        "'\"=",
    ),
}


def _generate(rng: Random) -> tuple[str, str]:
    kind = rng.choice(list(SAMPLES))
    return kind, mutate.text(rng, SAMPLES[kind])


def _door(_: Path) -> Callable[[tuple[str, str]], None]:
    from fds_mlflow.core.keys import spelled
    from fds_mlflow.core.text.checks import check_seed, once
    from fds_mlflow.core.text.duration import describe_duration, from_duration, to_duration, to_rate
    from fds_mlflow.core.weight import to_basis_points
    from fds_mlflow.display.characters import paragraph
    from fds_mlflow.display.redaction import redacted
    from fds_mlflow.errors import DataError
    from fds_mlflow.notifications.notifier import _parts
    from fds_mlflow.notifications.webhook import Webhook
    from fds_mlflow.outcomes import database
    from fds_mlflow.runtime import databases
    from fds_mlflow.scoring.output import Output
    from fds_mlflow.training.parameters import entries, from_pairs
    from fds_mlflow.workflows.source import _rows

    def duration(text: str) -> None:
        made = to_duration("it", text)
        assert to_duration("it", from_duration(made)) == made
        describe_duration(made)

    def number(text: str) -> float:
        try:
            return int(text)
        except ValueError:
            pass
        try:
            return float(text)
        except ValueError:
            raise DataError("no number", fix="write one") from None

    def read_json(text: str) -> None:
        try:
            json.loads(text, object_pairs_hook=once)
        except (ValueError, RecursionError):
            raise DataError("no JSON", fix="write some") from None

    def address(text: str) -> None:
        from sqlalchemy import exc

        parsed = database.parse(text)
        databases.shown(parsed)
        if database.in_memory(parsed) or parsed.get_backend_name() == "sqlite":
            return
        try:
            database.sync_engine(parsed, 1.0).dispose()
        except exc.SQLAlchemyError as error:
            raise AssertionError(error) from None

    doors: dict[str, Callable[[str], Any]] = {
        "duration": duration,
        "rate": lambda text: to_rate("it", text),
        "weight": lambda text: to_basis_points(number(text)),
        "parameter": lambda text: from_pairs([text]),
        "entries": entries,
        "json": read_json,
        "database": address,
        "webhook": lambda text: Webhook(text, SAMPLES["secret"][0]),
        "secret": lambda text: Webhook("https://example.com", text),
        "hook": _parts,
        "key": spelled,
        "seed": lambda text: check_seed(int(number(text)) if abs(number(text)) < 1e300 else -1),
        "score": Output.from_tag,
        "simulator": lambda text: _rows(text, text),
        "shown": lambda text: paragraph(redacted(text * (10_000 // (len(text) + 1)))),
    }

    def take(given: tuple[str, str]) -> None:
        doors[given[0]](given[1])

    return take


TARGETS = (Target("values", 380_000, _generate, _door, quick=300),)
