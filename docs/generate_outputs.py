"""Write anew what README.md shows of the program's output: `python docs/generate_outputs.py`. Some minutes.

A block of text behind a comment `<!-- output of: COMMAND -->` is what the command prints at that place of the tour. A
test holds it against what is printed today (tests/docs/test_blocks.py).
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "README.md"

_SHOWN = re.compile(r"(<!-- output of: (.+?) -->\n```text\n)(.*?)(?=```)", re.DOTALL)
_BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_LEFT_OUT = (
    "fds serve",
    "fds simulate",
    "fds canary run",
    "fds features",
    "fds schema",
    "fds data",
    "fds train fraud --data",
)
"""Begins of commands that wait, or need what only a reader has; nothing that is shown depends on them."""


def shown(page: str) -> dict[str, str]:
    """What a page shows, by command."""
    return {command: text for _, command, text in _SHOWN.findall(page)}


def rewritten(page: str, printed: Mapping[str, str]) -> str:
    """A page that shows what was printed, by command."""
    lines = {command: [line.rstrip() for line in text.rstrip().splitlines()] for command, text in printed.items()}
    return _SHOWN.sub(lambda found: found[1] + "\n".join(lines[found[2]]) + "\n", page)


def words(output: str) -> list[str]:
    """What of an output stays from one run to the next: no numbers, times, or widths of columns."""
    output = re.sub(r"^in this step .*$", "", output, flags=re.MULTILINE)
    lasting = re.sub(r"[-+\u2013]?[0-9\u221e][0-9.,:%-]*|[│┃┏┓┗┛┌┐└┘├┤┡┩━─╇┳┴┼┬]", " ", output).split()
    return [word for word in lasting if word not in ("s", "min")]


def story(page: str) -> Iterator[tuple[str, str]]:
    """The tour's commands and Python, in order: `fds` or `python`, and the text."""
    tour = page[page.index("## The tour") :]
    for language, text in _BLOCK.findall(tour):
        if language == "python":
            yield "python", text
            continue
        for line in text.splitlines():
            command = line.partition("    #")[0].strip()
            if command.startswith("fds ") and not command.startswith(_LEFT_OUT):
                yield "fds", command


def printed(page: str, folder: Path) -> dict[str, str]:
    """What the commands that a page shows print, when its tour is followed in a folder."""
    wanted, found = shown(page), {}
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",
        "FDS_ACTOR": "ana@shop1",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    (folder / "examples").symlink_to(ROOT / "examples")
    for kind, text in story(page):
        program = ["-c", text] if kind == "python" else ["-m", "fds_mlflow", *shlex.split(text)[1:]]
        done = subprocess.run(
            [sys.executable, *program], cwd=folder, env=environment, check=True, stdout=subprocess.PIPE, text=True
        )
        if text in wanted and text not in found:
            found[text] = done.stdout
    return found


if __name__ == "__main__":
    now = PAGE.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as place:
        PAGE.write_text(rewritten(now, printed(now, Path(place))), encoding="utf-8")
