"""A registry whose tags, and aliases where it has none, are kept in a database beside it.

Unity Catalog takes no dot in a tag's name, 50 tags and 1,000 characters; its open-source server has neither tags nor
aliases. What operations rely on is the same as of MLflow's own tags: one write is one transaction, and a read sees it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    exc,
    select,
)
from sqlalchemy.pool import NullPool

from fds_mlflow.display.redaction import redacted
from fds_mlflow.errors import ConfigError, NotFoundError, UnavailableError
from fds_mlflow.registry.mlflow_store import SQLITE_BUSY, MlflowStore
from fds_mlflow.registry.store import (
    AroundStore,
    DeleteAlias,
    DeleteModelTag,
    Describe,
    ModelView,
    SetAlias,
    SetModelTag,
    SetStage,
    SetVersionTag,
    VersionView,
    Write,
)
from fds_mlflow.runtime import databases, owned

_OF_MODEL, _ALIAS = 0, -1
"""What stands for a version's number in a row about the model, or about an alias of it."""

_ROWS = Table(
    "fds_registry_tags",
    MetaData(),
    Column("registry", String(500), primary_key=True),
    Column("model", String(256), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("name", String(256), primary_key=True),
    Column("value", Text, nullable=False),
)


class BesideStore(AroundStore[MlflowStore]):
    """A registry port: versions and stages from MLflow's registry, tags from a database.

    Args:
        base: The registry.
        database: SQLAlchemy URL of the database.

    Raises:
        ConfigError: It is no database address, or its driver is not installed.
        UnavailableError: The database cannot be reached.
    """

    holds_tags = False

    def __init__(self, base: MlflowStore, database: str) -> None:
        super().__init__(base)
        self._aliases_beside = not base.holds_aliases
        url = databases.parse(database, named="the database of tags")
        if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
            raise ConfigError("the database of tags is in memory, which nobody shares", fix="name a file or a server")
        if url.get_backend_name() == "sqlite" and url.database and "uri" not in url.query:
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
            owned.claim(Path(url.database))
        databases.reach(database, named="the database of tags", timeout=SQLITE_BUSY)
        waits = {"timeout": SQLITE_BUSY} if url.get_backend_name() == "sqlite" else {}
        with databases.usable(url):
            self._engine: Engine = create_engine(url, poolclass=NullPool, connect_args=waits)
        self.shown = databases.shown(url)
        self.write_limit = max(base.write_limit, SQLITE_BUSY)
        self._registry = redacted(base.uri)
        with self._transaction() as connection:
            _ROWS.create(connection, checkfirst=True)
            if self._registry != base.uri:  # earlier releases wrote the address with its password
                of_old = _ROWS.update().where(_ROWS.c.registry == base.uri)
                connection.execute(of_old.values(registry=self._registry))

    def read(self, model: str) -> ModelView:
        """Aliases and tags of a model."""
        found = self._base.read(model)
        with self._transaction() as connection:
            aliases = self._rows(connection, model, _ALIAS)
            tags = self._rows(connection, model, _OF_MODEL)
        beside = {alias: int(version) for alias, version in aliases.items()}
        return replace(found, aliases=beside if self._aliases_beside else found.aliases, tags={**found.tags, **tags})

    def version(self, model: str, version: int) -> VersionView:
        """One version."""
        return self._tagged(model, self._base.version(model, version))

    def by_alias(self, model: str, alias: str) -> VersionView | None:
        """The version an alias points at."""
        if not self._aliases_beside:
            found = self._base.by_alias(model, alias)
            return None if found is None else self._tagged(model, found)
        with self._transaction() as connection:
            version = self._rows(connection, model, _ALIAS).get(alias)
        try:
            if version is not None:
                return self.version(model, int(version))
        except NotFoundError:
            pass  # the version was deleted
        self._base.read(model)  # which must exist
        return None

    def versions(self, model: str) -> list[VersionView]:
        """All versions, the newest first."""
        return [self._tagged(model, version) for version in self._base.versions(model)]

    def models(self) -> dict[str, ModelView]:
        """All registered models, in order of name."""
        return {name: self.read(name) for name in self._base.models()}

    def write(self, model: str, write: Write) -> None:
        """Carry out one write."""
        match write:
            case SetStage() | Describe():
                self._base.write(model, write)
            case SetAlias(alias, version) if self._aliases_beside:
                self._base.version(model, version)  # which must exist
                self._set(model, _ALIAS, alias, str(version))
            case DeleteAlias(alias) if self._aliases_beside:
                self._base.read(model)  # which must exist
                self._set(model, _ALIAS, alias, None)
            case SetAlias() | DeleteAlias():
                self._base.write(model, write)
            case SetModelTag(name, value):
                self._base.read(model)
                self._set(model, _OF_MODEL, name, value)
            case DeleteModelTag(name):
                self._base.read(model)
                self._set(model, _OF_MODEL, name, None)
            case SetVersionTag(version, name, value):
                self._base.version(model, version)
                self._set(model, version, name, value)

    def _tagged(self, model: str, found: VersionView) -> VersionView:
        with self._transaction() as connection:
            return replace(found, tags={**found.tags, **self._rows(connection, model, found.version)})

    def _rows(self, connection: Connection, model: str, version: int) -> Mapping[str, str]:
        rows = select(_ROWS.c.name, _ROWS.c.value).where(*self._of(model, version))
        return {row.name: row.value for row in connection.execute(rows)}

    def _of(self, model: str, version: int) -> tuple[ColumnElement[bool], ...]:
        return _ROWS.c.registry == self._registry, _ROWS.c.model == model, _ROWS.c.version == version

    def _set(self, model: str, version: int, name: str, value: str | None) -> None:
        with self._transaction() as connection:
            connection.execute(_ROWS.delete().where(*self._of(model, version), _ROWS.c.name == name))
            if value is not None:
                row = {"registry": self._registry, "model": model, "version": version, "name": name, "value": value}
                connection.execute(_ROWS.insert().values(row))

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except exc.SQLAlchemyError as error:
            raise UnavailableError(
                f"the tags of {self._base.uri}, kept in {self.shown}, cannot be reached: {databases.reason(error)}",
                fix="check that the database can be reached and written, then try again",
            ) from None
