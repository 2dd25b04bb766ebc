"""Named contexts: which MLflow, which outcomes and which name the command line works with, in a file of the user's."""

from __future__ import annotations

import contextlib
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fds_mlflow.display.redaction import remember_address
from fds_mlflow.errors import ConfigError, NotFoundError
from fds_mlflow.runtime import owned
from fds_mlflow.runtime.identity import new_id

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

SETTINGS = ("tracking_uri", "registry_uri", "outcomes", "actor")
"""What a context may name: the options of the whole command line."""


class Contexts:
    """The contexts of a file in TOML: `current`, and a table `[contexts.NAME]` of `SETTINGS` for each.

    Comments and whatever else a person wrote there stay when it is changed. It may hold passwords: only its owner may
    read what is written here.

    Args:
        path: The file; one that does not exist has no contexts.

    Raises:
        ConfigError: It is no TOML, or says what no context has.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read()

    def _read(self) -> None:
        try:
            self._text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            self._text = ""
        except UnicodeDecodeError:
            raise self._wrong("it is not UTF-8") from None
        try:
            read = tomllib.loads(self._text)
        except tomllib.TOMLDecodeError as error:
            raise self._wrong(str(error)) from None
        self.current = self._checked(read)
        self.settings: Mapping[str, Mapping[str, str]] = read.get("contexts", {})
        for one in self.settings.values():
            for value in one.values():
                remember_address(value)

    def _wrong(self, what: str) -> ConfigError:
        return ConfigError(f"{self.path} is not a file of contexts: {what}", fix="repair it, or remove it")

    def _checked(self, read: Mapping[str, Any]) -> str | None:
        """The name of the current context, once the file says nothing that is not understood."""
        contexts = read.get("contexts", {})
        if unknown := read.keys() - {"current", "contexts"}:
            raise self._wrong(f"unknown: {', '.join(sorted(unknown))}")
        if not isinstance(contexts, Mapping):
            raise self._wrong("contexts is no table")
        for name, one in contexts.items():
            if not isinstance(one, Mapping) or not all(isinstance(value, str) for value in one.values()):
                raise self._wrong(f"contexts.{name} is no table of texts")
            if unknown := one.keys() - set(SETTINGS):
                known = ", ".join(SETTINGS)
                raise self._wrong(f"contexts.{name} has {', '.join(sorted(unknown))}, and may have {known}")
        current = read.get("current")
        if current is not None and current not in contexts:
            raise self._wrong(f"current is {current!r}, which is no context")
        return current

    def require(self, name: str) -> Mapping[str, str]:
        """A context's settings.

        Raises:
            NotFoundError: There is none of that name.
        """
        if name not in self.settings:
            there = ", ".join(sorted(self.settings)) or "none"
            raise NotFoundError(
                f"there is no context {name!r} (there is: {there})",
                fix=f"`fds config set {name} --tracking-uri URI`" if name.isidentifier() else "`fds config show`",
            )
        return self.settings[name]

    def set(self, name: str, settings: Mapping[str, str]) -> None:
        """Write what a context names, beside what it has; the first one is the current one."""
        with self._changed() as document:
            document.setdefault("contexts", {}).setdefault(name, {}).update(settings)
            document.setdefault("current", name)

    def use(self, name: str) -> None:
        """Make a context the current one."""
        self.require(name)
        with self._changed() as document:
            document["current"] = name

    def delete(self, name: str) -> None:
        """Take a context out; where it was the current one there is none any more."""
        self.require(name)
        with self._changed() as document:
            del document["contexts"][name]
            if document.get("current") == name:
                del document["current"]

    @contextlib.contextmanager
    def _changed(self) -> Iterator[TOMLDocument]:
        import tomlkit

        document = tomlkit.parse(self._text)
        yield document
        # What a name stands for is replaced, not the name: people keep such files elsewhere. And at once: a full disk,
        # or an end in the middle, leaves the file as it was.
        target = self.path.resolve()
        target.parent.mkdir(parents=True, exist_ok=True)
        made = target.with_name(f".{target.name}.{new_id()}")
        try:
            owned.write_text(made, tomlkit.dumps(document))
            made.replace(target)
        finally:
            made.unlink(missing_ok=True)
        self._read()
