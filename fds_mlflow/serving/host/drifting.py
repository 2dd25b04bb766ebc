"""How far features that were served lately are from those of the training: looked at now and then, beside requests."""

from __future__ import annotations

from fds_mlflow.features import profile
from fds_mlflow.serving.disk.version_cache import VersionCache
from fds_mlflow.serving.host.recorder import OutcomeRecorder

SECONDS = 60.0
"""How often it is looked at. Of 1,000 rows of 72 features it takes some 30 ms."""

LEAST = 100
"""Recorded vectors below which nothing is told of a version: chance alone would drift as far."""


def look(cache: VersionCache, recorder: OutcomeRecorder) -> dict[int, dict[str, float]]:
    """The drift of each feature, by version in service that has a profile and enough that was recorded lately.

    Args:
        cache: Where the versions' files are.
        recorder: Knows what was recorded lately; forgets what no longer serves.

    Raises:
        ConfigError: A profile cannot be read.
    """
    table = cache.table()
    serving = {} if table is None else {one.version: one.identity for one in table.versions}
    found = {}
    for version, kept in list(recorder.lately.items()):
        if version not in serving:
            del recorder.lately[version]
            continue
        prepared = cache.prepared(version, serving[version])
        known = None if prepared is None else profile.read(prepared.model)
        if known is not None and len(kept) >= LEAST:
            found[version] = profile.drift_of(known, list(kept))
    return found
