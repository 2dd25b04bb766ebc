"""Write docs/cli.md from the command line itself: `python docs/generate_cli.py`. A test checks that it is current."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from fds_mlflow.cli.main import main

TARGET = Path(__file__).with_name("cli.md")

EXAMPLES = {
    "adopt": "fds adopt fraud 3 --data recent.csv --target-fpr 0.01",
    "aliases": 'fds aliases fraud --champion prod --canary candidate --reason "as we call them"',
    "canary abort": 'fds canary abort fraud --reason "flags too many customers"',
    "canary advance": 'fds canary advance fraud --to 25 --reason "step 1 passed"',
    "canary complete": 'fds canary complete fraud --reason "all steps passed"',
    "canary rehearse": "fds canary rehearse --plan plan.yaml --data history.parquet --plot rehearsal.png",
    "canary run": "fds canary run fraud --interval 1m",
    "canary report": "fds canary report fraud --output report.html",
    "canary start": 'fds canary start fraud 2 --plan plan.yaml --reason "weekly retrain"',
    "canary status": "fds canary status fraud --json",
    "canary tick": "fds canary tick fraud",
    "compare": "fds compare fraud 1 2 --data transactions.parquet --schema schema.yaml",
    "data describe": "fds data describe transactions.csv",
    "demo": "fds demo --output demo-output --rows 60000",
    "doctor": "fds doctor fraud --fix",
    "features check": "fds features check handbook --schema handbook",
    "features explain": "fds features explain handbook",
    "features compute": "fds features compute shop-features.yaml --input orders.csv --schema my-shop.yaml -o f.parquet",
    "features load": "fds features load shop-features.yaml --data orders.csv --schema my-shop.yaml --state state",
    "features verify": "fds features verify shop-features.yaml --data orders.csv --schema my-shop.yaml",
    "features show": "fds features show customer C42 --state state",
    "features skew": "fds features skew fraud --since 7d --data transactions.parquet",
    "features forget": "fds features forget customer C42 --state state",
    "features template": "fds features template --schema schema.yaml",
    "history export": "fds history export fraud history.jsonl",
    "history import": "fds history import fraud history.jsonl",
    "history show": "fds history fraud",
    "label import": "fds label import labels.csv",
    "list": "fds list",
    "outcomes drain": "fds outcomes drain parquet:outcomes",
    "outcomes forget": "fds outcomes forget customer_id C42 --dry-run",
    "outcomes prune": "fds outcomes prune fraud --older-than 180d",
    "outcomes show": "fds outcomes show TX1",
    "outcomes stats": "fds outcomes stats",
    "notify resend": "fds notify resend fraud --since 12",
    "notify test": "fds notify test fraud",
    "plan check": "fds plan check plan.yaml --traffic 50/s --rate missed_fraud=0.002",
    "plan template": "fds plan template --output plan.yaml",
    "promote": 'fds promote fraud 2 --data transactions.parquet --schema schema.yaml --reason "better on last month"',
    "retire": 'fds retire fraud 3 --reason "trained on wrong labels"',
    "retrain": "fds retrain fraud --data transactions.parquet --schema schema.yaml --target-fpr 0.01",
    "rollback candidates": "fds rollback candidates fraud",
    "rollback emergency": 'fds rollback emergency fraud --reason "support reports blocked customers"',
    "rollback to": 'fds rollback to fraud 1 --reason "known good"',
    "rollback validate": "fds rollback validate fraud 1",
    "route": "fds route fraud TX0001 TX0002",
    "schema infer": "fds schema infer transactions.csv --label is_fraud > transactions.schema.yaml",
    "score": "fds score fraud --input transactions.parquet --output scores.parquet --rollout",
    "serve": "fds serve fraud --port 5001 --workers 2 --shadow 10",
    "settle": "fds settle fraud",
    "show": "fds show fraud",
    "simulate": "fds simulate transactions.parquet --rows 100000 --fraud-rate 0.01",
    "stage": 'fds stage fraud 2 --reason "trained on spring data"',
    "train": "fds train fraud --algorithm lightgbm --data simulator:20000 --param num_leaves=15",
}

HEAD = """\
# The command line

<!-- Written by docs/generate_cli.py from the command line itself: edit the help texts or the examples there. -->

`fds VERB MODEL ...`: one verb each for what `ManagedModel` offers in Python, and for data, training and the demo.

- `--help` explains every verb.
- `--json` prints one JSON value on standard output, for machines, and nothing else is printed there: what MLflow or a
  model's code prints goes to standard error. Errors, wrong usage included, become `{"error", "fix", "type"}`. Where
  standard output is not UTF-8, the JSON is in ASCII, and tables show an escape for a sign that is missing.
- Exit code 0: done. 1: refused, and the message names the fix. 2: wrong usage.
- The options below stand before the verb, a verb's own behind it. One in the wrong place is answered with the right
  call.
- Errors of MLflow, databases and files are told like ours. `FDS_TRACEBACK=1` shows the traceback of one that nobody
  foresaw.
- Secrets are hidden in whatever is shown: passwords, tokens, and every parameter of an address that is not known to be
  harmless. Give addresses that hold one, and tokens, by the environment (`MLFLOW_TRACKING_URI`, `FDS_OUTCOMES_URI`,
  `FDS_STATE`, `FDS_SERVE_TOKEN`, PostgreSQL's `PGPASSWORD` or `~/.pgpass`): everybody on the machine may list
  arguments. In a database address, write `%40` for an `@` and `%20` for a space in a password.
- Characters that act on a terminal (escape codes, control characters, overrides of direction) and those that nobody
  sees are shown as Python writes them: `\\x1b`, `\\u202e`. The JSON means what the registry holds, to the letter.
"""


def page() -> str:
    """The whole page."""
    verbs = dict(sorted(_verbs(main, ())))
    missing = sorted(set(verbs) ^ set(EXAMPLES))
    if missing:
        raise SystemExit(f"EXAMPLES in {__file__} and the verbs of fds differ: {', '.join(missing)}")
    parts = [HEAD, "## Options before the verb\n", _options(main)]
    parts += ["## Verbs\n", _index(verbs)]
    for name, command in verbs.items():
        parts += [f"### {name}\n", _sentence(command.help), f"```bash\n{EXAMPLES[name]}\n```\n", _options(command)]
    return "\n".join(parts).rstrip() + "\n"


def _verbs(group: click.Group, path: tuple[str, ...]) -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _verbs(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


def _index(verbs: dict[str, click.Command]) -> str:
    rows = [f"| [{name}](#{name.replace(' ', '-')}) | {_cell(command.help)} |" for name, command in verbs.items()]
    return "\n".join(["| verb | what it does |", "|---|---|", *rows, ""])


def _options(command: click.Command) -> str:
    with click.Context(command) as context:
        rows = []
        for parameter in command.params:
            record = parameter.get_help_record(context)
            if isinstance(parameter, click.Argument):
                rows.append(f"| `{parameter.make_metavar(context)}` | required |")
            elif record is not None:
                rows.append(f"| `{_cell(record[0])}` | {_cell(record[1])} |")
    return "\n".join(["| argument or option | meaning |", "|---|---|", *rows, ""]) if rows else ""


def _sentence(text: str | None) -> str:
    return " ".join((text or "").split()) + "\n"


def _cell(text: str | None) -> str:
    # A bracket after a bracket would be read as a link.
    return " ".join((text or "").split()).replace("|", "\\|").replace("] [", "] \\[")


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
