"""Plans as YAML files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fds_mlflow.core.plan.plan import Plan
from fds_mlflow.runtime.yaml_file import parse_yaml, read_yaml

_HELP = "`fds plan template` prints a plan"


def load_plan(path: Path | str) -> Plan:
    """Read a plan from a YAML file.

    Raises:
        ConfigError: The file cannot be read, is no YAML, has unknown or repeated keys, or a value is out of range.
    """
    return _plan(read_yaml(path, "the plan", fix=_HELP))


def parse_plan(text: str) -> Plan:
    """Read a plan from YAML.

    Raises:
        ConfigError: The text is no YAML, has unknown or repeated keys, or a value is out of range.
    """
    return _plan(parse_yaml(text, "the plan", fix=_HELP))


def _plan(values: Any) -> Plan:
    return Plan.from_dict({} if values is None else values)
