"""Write docs/cli.md from the command line itself: `python docs/generate_cli.py`. A test checks that it is current."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from fds_mlflow.cli.help import EXAMPLES, VARIABLES
from fds_mlflow.cli.main import main

TARGET = Path(__file__).with_name("cli.md")

HEAD = """\
# The command line

<!-- Written by docs/generate_cli.py from the command line itself: edit the help texts there. -->

`fds VERB MODEL ...`: one verb each for what `ManagedModel` offers in Python, and for data, training and the demo.

- `--help` explains every verb.
- `--json` prints one JSON value on standard output, for machines, and nothing else is printed there: what MLflow or a
  model's code prints goes to standard error. Errors, wrong usage included, become `{"error", "fix", "type"}`. Where
  standard output is not UTF-8, the JSON is in ASCII, and tables show what looks like a sign that is missing, or an
  escape. A table that does not fit a terminal is turned: a row for each column. `NO_COLOR` takes the colours away.
- Exit code 0: done. 1: refused, and the message names the fix. 2: wrong usage. 4: it waits for the
  [approval of a second person](approvals.md); with `--json` the error has the `request`.
- `--dry-run`, where a verb has it, writes nothing, shows [what would be written](approvals.md#dry-runs), and exits as
  the verb would.
- The options below, which all verbs have, may stand before the verb or behind it. `fds config` keeps them under
  [names](contexts.md).
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
        raise SystemExit(f"EXAMPLES in fds_mlflow/cli/help.py and the verbs of fds differ: {', '.join(missing)}")
    parts = [HEAD, "## Options of all verbs\n", _options(main)]
    parts += ["## Environment\n", "Beside those that stand with an option:\n", _variables()]
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


def _variables() -> str:
    rows = [f"| `{name}` | {meaning} |" for name, meaning in VARIABLES.items()]
    return "\n".join(["| variable | meaning |", "|---|---|", *rows, ""])


def _sentence(text: str | None) -> str:
    return " ".join((text or "").split()) + "\n"


def _cell(text: str | None) -> str:
    # A bracket after a bracket would be read as a link.
    return " ".join((text or "").split()).replace("|", "\\|").replace("] [", "] \\[")


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
