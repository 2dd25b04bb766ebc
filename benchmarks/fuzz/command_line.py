"""The command line: every verb, found by walking the tree, with generated values for its arguments and options."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from random import Random

import click

from benchmarks.fuzz import mutate
from benchmarks.fuzz.target import Target

PARSED_ONLY = ("serve", "demo", "canary run", "simulate", "train", "retrain", "compare")
"""Verbs that go on for ever, or for long, once their words are understood: these are parsed and not run."""

FILES = {
    "plan.yaml": "steps: [10, 100]\n",
    "labels.csv": "transaction_id,status,known_at\nT,genuine,2026-03-08T12:00:00Z\n",
    "history.jsonl": "{}\n",
    "data.csv": "id,amount,label,time\n1,2.5,0,2026-03-01\n2,3.5,1,2026-03-02\n",
}
VALUES = {
    **{"model": "fraud", "version": "1", "baseline": "1", "candidate": "2", "keys": "TX1", "since": "1"},
    **{"reason": "because", "older_than": "90d", "output": "out.parquet", "plan_file": "plan.yaml", "schema": "sample"},
    **{"file": "data.csv", "source": "history.jsonl", "data": "data.csv", "steps": "10,50", "traffic": "50/s"},
    **{
        "rates": "error_rate=0.1",
        "interval": "30s",
        "split": "time",
        "gap": "7d",
        "rollout": "01ARZ3NDEKTSV4RRFFQ69G5FAV",
    },
    **{"scores": "amount,amount", "thresholds": "0.5,0.5", "tracking_uri": "sqlite:///m.db", "host": "127.0.0.1"},
    **{
        "row_limit": "5,fraud=7",
        "table": "t",
        "query": "SELECT 1",
        "params": "a=1",
        "champion": "prod",
        "cache": "cache",
    },
}


_PLACES = ("sqlite://", "file:", "databricks", "nothing:", "")
"""How the address of a registry begins: a server that is away would be waited for."""

_PATHS = ("/m.db", "/m.db?timeout=1", "/prefix")


@cache
def _verbs() -> dict[str, click.Command]:
    from fds_mlflow.cli.main import main

    def walk(command: click.Command, words: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
        for name, verb in getattr(command, "commands", {}).items():
            yield from walk(verb, (*words, name))
        if words and not hasattr(command, "commands"):
            yield " ".join(words), command

    return dict(walk(main))


def _generate(rng: Random) -> list[str]:
    verb = rng.choice(list(_verbs()))
    words = verb.split()
    if rng.random() < 0.1:
        words += ["--json"]
    for param in _verbs()[verb].params:
        flag = getattr(param, "is_flag", False)
        if not param.required and rng.random() > 0.3:
            continue
        usual = VALUES.get(str(param.name), str(param.default or "1"))
        given = usual if rng.random() < 0.5 else rng.choice((mutate.text(rng, [usual]), rng.choice(mutate.TOKENS)))
        given = given.replace("\0", "")  # no argument of a process has one
        words += [given] if isinstance(param, click.Argument) else [param.opts[0]] if flag else [param.opts[0], given]
    if rng.random() < 0.1:
        words.insert(rng.randrange(len(words) + 1), rng.choice(mutate.TOKENS).replace("\0", ""))
    if rng.random() < 0.1:
        words = ["--tracking-uri", rng.choice(_PLACES) + mutate.text(rng, _PATHS).replace("\0", ""), *words]
    return words


def _door(folder: Path) -> Callable[[list[str]], str]:
    import mlflow
    from click.testing import CliRunner

    from fds_mlflow.cli.main import main
    from fds_mlflow.errors import DataError

    for verb in PARSED_ONLY:
        _verbs()[verb].callback = lambda *_, **__: None
    os.chdir(folder)
    settings = {"FDS_CACHE": str(folder / "cache"), "FDS_OUTCOMES_URI": "sqlite:///o.db"}
    settings |= {"MLFLOW_TRACKING_URI": "sqlite:///m.db", "MLFLOW_REGISTRY_URI": "sqlite:///m.db"}
    os.environ |= settings
    _registry(folder)
    runner = CliRunner()

    def take(words: list[str]) -> str:
        for name, text in FILES.items():
            (folder / name).write_text(text)
        told = runner.invoke(main, words)
        mlflow.set_tracking_uri(None)  # one process is one call, elsewhere
        mlflow.set_registry_uri(None)
        os.environ |= settings
        if told.exception is not None and not isinstance(told.exception, SystemExit):
            raise told.exception
        assert told.exit_code in (0, 1, 2, 3, 4), told.exit_code
        said = told.output + told.stderr
        assert "Traceback (most recent" not in said, said[-400:]
        if "--json" not in words and told.exit_code in (1, 2) and "Error:" in said:
            assert "Fix: " in said, said[-400:]
        if "UnexpectedError" in said or "try again; if it stays, report it" in said:
            raise AssertionError(said[-400:])
        if told.exit_code == 1 and not said.strip():
            raise DataError("refused without a word", fix="")
        return said

    return take


def _registry(folder: Path) -> None:
    """An MLflow with one model of two versions."""
    import mlflow

    uri = f"sqlite:///{folder / 'm.db'}"
    client = mlflow.MlflowClient(uri, uri)
    client.create_registered_model("fraud")
    for _ in range(2):
        client.create_model_version("fraud", f"file:{folder}/artifacts")
    client.set_registered_model_alias("fraud", "champion", "1")


TARGETS = (Target("command line", 5_000, _generate, _door, quick=40),)
