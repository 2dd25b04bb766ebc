"""The versions that a batch is scored by: chosen, fetched, checked and compiled, as a server would do it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory

from fds_mlflow.core.routing.routing import RoutingTable
from fds_mlflow.data import readers
from fds_mlflow.data.request import Request
from fds_mlflow.data.single import LABELS, Single
from fds_mlflow.errors import ConfigError, DataError, NotFoundError, RefusedError
from fds_mlflow.features import declaration
from fds_mlflow.features.conflicts import conflicts
from fds_mlflow.features.declaration import Declared
from fds_mlflow.model import ManagedModel
from fds_mlflow.registry.aliases import AliasReader
from fds_mlflow.registry.store import VersionView
from fds_mlflow.scoring.scorer import threshold_of
from fds_mlflow.scoring.served import Served
from fds_mlflow.serving.batch import BatchRouter, Here
from fds_mlflow.serving.disk.version_cache import VersionCache
from fds_mlflow.serving.host.prepare import fetch

TRANSACTION = "transaction_id"


@dataclass(frozen=True)
class Choice:
    """Which version scores a row: the one of a number, that of an alias, or else the one that its key is routed to.

    Attributes:
        version: A number; None for none in particular.
        alias: An alias; None for none in particular.

    Raises:
        ConfigError: Both are given.
    """

    version: int | None = None
    alias: str | None = None

    def __post_init__(self) -> None:
        if self.version is not None and self.alias is not None:
            raise ConfigError(
                f"version {self.version} and the alias {self.alias!r} are both to score", fix="leave out one of the two"
            )


@dataclass(frozen=True)
class Versions:
    """Versions of a model as they are needed, each prepared once.

    Attributes:
        model: The model.
        choice: Which of them score.
    """

    model: ManagedModel
    choice: Choice
    _folder: TemporaryDirectory[str] = field(
        default_factory=lambda: TemporaryDirectory(prefix="fds-versions-"), init=False, repr=False, compare=False
    )

    @property
    def root(self) -> Path:
        """The folder in which each has one of its own, called by its identity; it is gone with this object."""
        return Path(self._folder.name)

    def router(self, key: str = TRANSACTION, transaction: str | None = None, *, text: bool = False) -> BatchRouter:
        """What scores rows by the split, or by the one version, of just now.

        Args:
            key: Name of the routing key's column.
            transaction: Name of the column of the transaction's id; None for the key.
            text: The rows come from a file of text.

        Raises:
            NotFoundError: There is no such version or alias.
            RefusedError: A version is not READY, has no threshold, does not load, or brings code that nobody has
                allowed to run.
            UnavailableError: There is no champion, or the registry is away.
        """
        table, views = self._now()
        served = tuple(self._prepared(view) for view in views)
        return BatchRouter(self.model.name, table, served, key, transaction, Here(self.root, self), text)

    def form_of(self, path: Path) -> Request:
        """How files are written: as their names say, or raw transactions as the schema says that the champion declares.

        Raises:
            RefusedError, NotFoundError, UnavailableError: As for `router`.
        """
        plain, router = Request(str(path)), self.router()
        declared = declaration.read(router.loaded(router.table.champion).folder)
        if declared is None:
            return plain
        schema = declared.schema
        own = Request(str(path), None, schema.separator, schema.encoding, schema.sheet)
        with suppress(DataError):  # it is written in another way
            if set(Single(schema).columns) <= set(readers.column_names(path, own)):
                return own
        return plain

    def table(self) -> RoutingTable:
        """Which version answers which key just now; errors as for `router`."""
        return self._now()[0]

    def _now(self) -> tuple[RoutingTable, list[VersionView]]:
        name, store = self.model.name, self.model.session.store
        if self.choice.version is not None:
            view: VersionView | None = store.version(name, self.choice.version)
        elif self.choice.alias is not None:
            view = store.by_alias(name, self.choice.alias)
        else:
            found = AliasReader(store, name).read()
            return found.routing, [one for one in (found.champion, found.canary) if one is not None]
        if view is None:
            raise NotFoundError(
                f"{name!r} has no alias {self.choice.alias!r}",
                fix=f"`fds show {name}` tells who is champion and canary",
            )
        return RoutingTable(view.version), [view]

    def _prepared(self, view: VersionView) -> Served:
        """A version in its folder, where it is put unless it is there; at its threshold of now."""
        session, name = self.model.session, self.model.name
        cache = VersionCache(self.root / view.identity, name, "")
        prepared = cache.prepared(view.version, view.identity)
        if prepared is None:
            with cache.preparing(view.version, view.identity) as folder:
                waiting = fetch(
                    session.store,
                    name,
                    view.version,
                    folder,
                    tracking_uri=session.tracking_uri,
                    registry_uri=session.registry_uri,
                    trust=session.trust,
                )
                if waiting.runs_code and not session.trust:
                    raise RefusedError(
                        f"version {view.version} of {name!r} runs code of its own, and would in processes that hold the"
                        " addresses and secrets of this one",
                        fix="serve it, or have it run here: --trust, in Python ManagedModel(..., trust=True)",
                    )
                waiting.make_ready(folder)
            prepared = cache.prepared(view.version, view.identity)
            assert prepared is not None
        return Served(view.version, view.identity, threshold_of(name, view), prepared.files)


def to_compute(router: BatchRouter, columns: list[str], source: str) -> list[Declared]:
    """What versions of a router declare, where their features are to be computed from raw transactions first.

    Args:
        router: The router.
        columns: Of the rows.
        source: What messages call the rows.

    Returns:
        A declaration each, each once; none where the rows have all that the versions take.

    Raises:
        DataError: The rows have neither a version's columns nor those of its transactions; it would be charged with it.
        RefusedError: Features count labels, and the rows have no column of them; or two versions mean different things
            by one of them.
    """
    found: dict[str, Declared] = {}
    by_version = {one.version: declaration.read(router.loaded(one.version).folder) for one in router.versions}
    for one, two in combinations(filter(None, by_version.values()), 2):
        both = {*one.spec.names}.intersection(two.spec.names)
        different = [name for name in conflicts(one.spec, two.spec) if name in both]
        if different:
            raise RefusedError(
                f"the versions mean different things by the feature {different[0]!r}, so no row fits both",
                fix="score by one of them: --version NUMBER, in Python Choice(version=NUMBER)",
            )
    lacks = {one.version: sorted(router.loaded(one.version).required - set(columns)) for one in router.versions}
    if not any(lacks.values()):
        return []
    for version in sorted(lacks, key=lambda version: not lacks[version]):
        declared = by_version[version]
        raw = [] if declared is None else [name for name in Single(declared.schema).columns if name not in columns]
        if declared is None or raw:
            also = "it declares no features" if declared is None else f"its transactions have {', '.join(raw)}"
            raise DataError(
                f"{source} lacks columns that version {version} needs: {', '.join(lacks[version][:20])}; and {also}"
                if lacks[version]
                else f"{source} has not the features of all versions, and version {version} cannot compute its: {also}",
                fix="give rows with its features, or raw transactions with all columns of the schema that it declares",
            )
        known = [name for role in LABELS for name in declared.schema.roles().get(role, ()) if name not in columns]
        if declared.spec.uses_labels and known:
            raise RefusedError(
                f"features of version {version} count labels, and {source} has no {', '.join(known)}",
                fix="give the columns, empty where nothing is known yet, and the rows that labels are known of; or rows"
                " with its features",
            )
        found[declared.digest] = declared
    return list(found.values())
