"""Known vulnerabilities in what requirements.lock pins, the tools of development included: `make audit`.

Exit code 1 where a service knows of one. A service that does not answer, or that does not know a package, has checked
nothing: what was not checked is said, loudly, and fails nothing, so that a machine without a network can build.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SERVICES = ("pypi", "osv")
"""Of pip-audit's services: the second is asked where the first does not answer."""

SECONDS = 300.0

Dependencies = list[dict[str, Any]]


def ask(service: str, lock: Path) -> Dependencies | str:
    """What a service says about each pin, or why it says nothing."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip_audit", "--requirement", str(lock), "--require-hashes", "--disable-pip"]
        command += ["--vulnerability-service", service, "--format", "json", "--output", str(report)]
        try:
            done = subprocess.run(
                [*command, "--progress-spinner", "off"], capture_output=True, text=True, timeout=SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            return f"no answer within {SECONDS:g} s"
        if not report.is_file():
            return (done.stderr.strip().splitlines() or ["no answer"])[-1]
        dependencies: Dependencies = json.loads(report.read_text(encoding="utf-8"))["dependencies"]
        return dependencies


def told(answers: Sequence[tuple[str, Dependencies | str]]) -> tuple[list[str], int]:
    """Lines to print, and the exit code: 1 where a vulnerability is known.

    Args:
        answers: A service, and what it says. pip-audit itself says "no known vulnerabilities" of packages that its
            service has never heard of; here they are not checked.
    """
    lines = []
    for service, answer in answers:
        if isinstance(answer, str):
            lines.append(f"{service}: {answer}")
            continue
        checked = [one for one in answer if "skip_reason" not in one]
        left = [f"{one['name']} {one.get('version', '')}".strip() for one in answer if "skip_reason" in one]
        if not checked:
            lines.append(f"{service}: knows none of {len(answer)} packages")
            continue
        found = [
            f"{one['name']} {one['version']}: {known['id']}, fixed in {' or '.join(known['fix_versions']) or 'none'}"
            for one in checked
            for known in one["vulns"]
        ]
        lines = [f"{service}: {len(checked)} packages checked, {len(found)} vulnerabilities known", *found]
        return lines + ([f"!! NOT CHECKED: {', '.join(left)}"] if left else []), int(bool(found))
    return ["!! NOT CHECKED: no service could say which packages of requirements.lock are vulnerable", *lines], 0


def main() -> int:
    """Ask one service after the other until one knows the packages."""
    answers: list[tuple[str, Dependencies | str]] = []
    for service in SERVICES:
        answer = ask(service, ROOT / "requirements.lock")
        answers.append((service, answer))
        if not isinstance(answer, str) and any("skip_reason" not in one for one in answer):
            break
    lines, code = told(answers)
    print("\n".join(lines))
    return code


if __name__ == "__main__":
    sys.exit(main())
