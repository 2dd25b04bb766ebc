"""How a worker behaves."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from fds_mlflow.core.routing.exploration import Exploration
from fds_mlflow.serving.disk.spool import Spool
from fds_mlflow.serving.disk.version_cache import VersionCache
from fds_mlflow.serving.worker.access import Access
from fds_mlflow.serving.worker.engine import Bands


@dataclass(frozen=True)
class ServerSettings:
    """How a worker behaves towards one model.

    Attributes:
        model: Registered model.
        registry: URI of the registry, for the name of the version cache.
        cache: Folder of version caches and spools.
        key: Column of the routing key.
        transaction: Column that labels are joined on.
        bands: From which risk on more than approval is asked for.
        canary_timeout: Seconds a canary without a compiled scorer may take.
        champion_timeout: The same for a champion.
        connections: Requests of this model that a worker works on at once.
        queue_seconds: How long a request may wait for its turn.
        body_limit: Bytes a request may have.
        row_limit: Rows a request may have.
        body_seconds: How long a client may take to send the head of its request, and its body.
        token: Bearer token that requests must show; None for none, and where its digest is enough.
        access: From which pages and under which names it may be asked.
        webhook_secret: With which the registry signs its webhooks; None to take none.
        variant_override: Whether a header may choose the variant.
        shadow: Share of the champion's requests that the canary scores as well, in [0, 1].
        explore: Which of the flagged requests are let pass; None for none.
        record: Whether outcomes are kept.
        follow_seconds: How often the version cache is looked at.
        spool_limit: Bytes of outcomes that may wait on disk.
        prepare_seconds: How long a version may take to be fetched and checked.
        token_digest: SHA-256 of the header that shows the token: a worker, which may run the code of a model, has no
            more; None for none.
        trust: Code that versions bring may run, whatever the history says.
        state: Folder or URL of the state that raw transactions need; None to take features alone.
    """

    model: str
    registry: str
    cache: Path
    key: str = "transaction_id"
    transaction: str = "transaction_id"
    bands: Bands = field(default_factory=Bands)
    canary_timeout: float = 0.25
    champion_timeout: float = 5.0
    connections: int = 1_000
    queue_seconds: float = 0.5
    body_limit: int = 8 * 2**20
    row_limit: int = 10_000
    body_seconds: float = 10.0
    token: str | None = None
    access: Access = field(default_factory=Access)
    webhook_secret: str | None = None
    variant_override: bool = False
    shadow: float = 0.0
    explore: Exploration | None = None
    record: bool = True
    follow_seconds: float = 0.1
    spool_limit: int = 2**30
    prepare_seconds: float = 600.0
    token_digest: bytes | None = None
    trust: bool = False
    state: str | None = None

    def __post_init__(self) -> None:
        if self.token is not None:
            shown = f"Bearer {self.token}".encode()
            object.__setattr__(self, "token_digest", hashlib.sha256(shown).digest())

    def version_cache(self) -> VersionCache:
        """The model's version cache."""
        return VersionCache(self.cache, self.model, self.registry)

    def spool(self) -> Spool:
        """The model's spool."""
        return Spool(self.version_cache().folder / "spool", limit=self.spool_limit)
