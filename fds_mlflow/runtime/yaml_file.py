"""YAML as people write it: read safely, and refused where a key stands twice."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from fds_mlflow.errors import ConfigError, FdsError
from fds_mlflow.runtime import text_file


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice in one mapping, where YAML's own would take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = sorted({str(key) for key in keys if keys.count(key) > 1})
        if twice:
            line = node.start_mark.line + 1
            raise ConfigError(f"it has {', '.join(twice)} twice, in what begins in line {line}", fix="keep one")
        return super().construct_mapping(node, deep)


def parse_yaml(text: str, what: str, *, fix: str) -> Any:
    """Read one YAML document.

    Args:
        text: The document.
        what: What it is, for messages: "the plan", "the schema shop.yaml".
        fix: Where one is explained, for messages.

    Raises:
        ConfigError: It is no YAML, or has a key twice, at whatever depth.
    """
    try:
        return yaml.load(text, _Loader)  # a safe loader
    except yaml.YAMLError as error:
        raise ConfigError(f"{what} is not YAML: {' '.join(str(error).split())}", fix=fix) from None
    except ConfigError as error:
        raise ConfigError(f"{what} is ambiguous: {error.what}", fix=error.fix) from None
    except RecursionError:
        raise ConfigError(f"{what} is nested too deeply", fix=fix) from None


def read_yaml(path: str | Path, what: str, *, fix: str) -> Any:
    """Read a YAML file, as `parse_yaml` does.

    Raises:
        ConfigError: It cannot be read, is no YAML, or has a key twice.
    """
    try:
        with text_file.opened(Path(path)) as file:
            text = file.read()
    except FdsError as error:
        raise ConfigError(f"{what} cannot be read: {error.what}", fix=f"{error.fix}; {fix}") from None
    return parse_yaml(text, what, fix=fix)
