"""What a version declares of its inputs: the features and the schema, as files of the logged model.

Whoever has the version's files can compute what it takes from raw transactions. The metadata of the MLmodel file say
that there is a declaration, and by its digest which; the digest of the version's files covers it all. Imports MLflow
late.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path
from typing import NamedTuple

import yaml

from fds_mlflow.data.schema import Declaration, Schema
from fds_mlflow.errors import ConfigError
from fds_mlflow.features.spec import FeatureSpec
from fds_mlflow.runtime.yaml_file import CoreDumper, read_yaml

KEY = "fds.declaration"
"""Key of the digest in the logged model's metadata, and the tag of the run and of the version."""

FEATURES, SCHEMA = "features.yaml", "schema.yaml"
"""The files, in the logged model's folder."""


class Declared(NamedTuple):
    """What a version declares.

    Attributes:
        spec: Its features.
        schema: The schema of the transactions that it learned from.
        digest: Of both; see `digest`.
    """

    spec: FeatureSpec
    schema: Schema
    digest: str


def digest(spec: FeatureSpec, schema: Schema) -> str:
    """The digest of a declaration: `sha256:` and 64 hexadecimal digits.

    It is that of what differs from the grammar's defaults, which never change their meaning: neither comments nor a
    later release change it.
    """
    said = json.dumps([_values(spec), _values(schema)], sort_keys=True, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(said.encode()).hexdigest()}"


def to_yaml(what: FeatureSpec | Schema) -> str:
    """A specification or schema as YAML, which its `load` reads as what it was."""
    text: str = yaml.dump(_values(what), Dumper=CoreDumper, sort_keys=False, allow_unicode=True, width=120)
    return text


def write(folder: str | Path, spec: FeatureSpec, schema: Schema) -> str:
    """Write the files of a declaration into a folder, and read them again.

    Returns:
        The digest, for the metadata of the logged model.

    Raises:
        ConfigError: It holds what cannot be read back from a file: too many values, characters that are no text.
    """
    for name, what in ((FEATURES, spec), (SCHEMA, schema)):
        (Path(folder) / name).write_text(to_yaml(what), encoding="utf-8")
    try:
        read_again = _read(Path(folder))
    except ConfigError as error:
        raise ConfigError(
            f"the declaration cannot be kept in files: {error.what}", fix="rename the column, or declare less"
        ) from None
    if read_again != (spec, schema):
        raise AssertionError(f"a declaration reads otherwise than it was written: {spec!r}, {schema!r}")
    return digest(spec, schema)


def log(model_id: str, spec: FeatureSpec, schema: Schema) -> None:
    """Add the files of a declaration to a logged model, before anybody registers it.

    Raises:
        ConfigError: As for `write`.
        Exception: Whatever MLflow and the artifact store raise.
    """
    import mlflow

    with tempfile.TemporaryDirectory(prefix="fds-declaration-") as folder:
        write(folder, spec, schema)
        mlflow.MlflowClient().log_model_artifacts(model_id, folder)


def read(folder: str | Path) -> Declared | None:
    """What a version declares; None where it says that it declares nothing: older versions, and other pipelines'.

    Args:
        folder: Where its files are, as the logged model has them.

    Raises:
        ConfigError: It says that it declares something, and that is missing, broken, or not what was logged; or its
            MLmodel file cannot be read.
    """
    place = Path(folder)
    model = read_yaml(place / "MLmodel", "the model's file MLmodel", fix="register a model that MLflow has logged")
    metadata = model.get("metadata") if isinstance(model, dict) else None
    noted = metadata.get(KEY) if isinstance(metadata, dict) else None
    if noted is None:
        return None
    try:
        spec, schema = _read(place)
    except ConfigError as error:
        raise ConfigError(
            f"the version's declaration cannot be read: {error.what}",
            fix="fetch its files again or train it again; if a later release wrote it, install that one",
        ) from None
    found = digest(spec, schema)
    if found != noted:
        raise ConfigError(
            f"the version's declaration is not the one it was logged with: {FEATURES} and {SCHEMA} have the digest"
            f" {found}, its MLmodel says {noted}",
            fix="fetch its files again, or train it again: somebody changed them",
        )
    return Declared(spec, schema, found)


def _read(folder: Path) -> tuple[FeatureSpec, Schema]:
    return FeatureSpec.load(folder / FEATURES), Schema.load(folder / SCHEMA)


def _values(what: Declaration) -> dict[str, object]:
    """What differs from the defaults, in the order of the keys."""
    return what.model_dump(mode="json", exclude_defaults=True)
