"""The schema: made on first use, by whoever comes first, and equal to what the classes say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.orm import Session

import fds_mlflow.outcomes as package
from fds_mlflow.core.routing.routing import Variant
from fds_mlflow.outcomes.records import CaseStatus
from fds_mlflow.outcomes.store import OutcomeStore
from fds_mlflow.outcomes.tables import SCHEMA_VERSION, VERSION_TABLE, Base
from tests.support.samples import outcome


def _scripts() -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", str(Path(package.__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return ScriptDirectory.from_config(config)


def test_migrations_lead_to_the_classes(store: OutcomeStore) -> None:
    """An empty database, migrated, has exactly the tables, columns and indexes that the classes declare."""
    with store.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "version_table": VERSION_TABLE})
        found = compare_metadata(context, Base.metadata)
    # Before 1.18 Alembic misses identities in SQLite, which has none.
    identities = [one for one in found if isinstance(one, list) and {name for name, *_ in one} == {"modify_default"}]
    assert found == (identities if store.engine.dialect.name == "sqlite" else [])


def test_migrations_make_the_same_constraints(tmp_path: Path) -> None:
    """The CHECK constraints, which Alembic does not compare, are the classes' own, word for word."""
    created = create_engine(f"sqlite:///{tmp_path}/created.db")
    Base.metadata.create_all(created)
    with OutcomeStore(f"sqlite:///{tmp_path}/migrated.db") as migrated:
        assert _definitions(migrated.engine) == _definitions(created)
    created.dispose()


def _definitions(engine: object) -> dict[str, set[str]]:
    with Session(engine) as session:  # type: ignore[arg-type]
        rows = session.execute(text("SELECT name, sql FROM sqlite_master WHERE name LIKE '%fds_%' AND sql NOT NULL"))
        found = {name: _parts(sql.replace('"', "")) for name, sql in rows}  # a renamed table's name is quoted
    found.pop(VERSION_TABLE, None)
    return found


def _parts(sql: str) -> set[str]:
    """The columns and constraints of a definition: a column that is added later stands at the end of its text."""
    parts, depth = [""], 0
    for letter in sql:
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if letter == "," and depth == 1:
            parts.append("")
        else:
            parts[-1] += letter
    head, _, parts[0] = parts[0].partition("(")
    parts[-1], _, tail = parts[-1].rpartition(")")
    return {" ".join(part.split()) for part in [head, *parts, tail]}


def test_the_words_of_the_constraints_are_the_words_of_the_code() -> None:
    """The variants and statuses that the database allows are those the code knows."""
    checks = {
        str(constraint.name): str(constraint.sqltext)  # type: ignore[attr-defined]
        for table in Base.metadata.tables.values()
        for constraint in table.constraints
        if hasattr(constraint, "sqltext")
    }
    for column in ("assigned", "served"):
        assert checks[f"ck_fds_outcomes_{column}"] == f"{column} IN {tuple(map(str, Variant))}"
    assert checks["ck_fds_fraud_cases_status"] == f"status IN {tuple(map(str, CaseStatus))}"


def test_the_newest_migration_is_the_version_the_code_expects() -> None:
    """The fast check at opening compares with the newest migration, and versions sort as texts."""
    scripts = _scripts()
    assert scripts.get_current_head() == SCHEMA_VERSION
    revisions = [script.revision for script in scripts.walk_revisions()]
    assert revisions == sorted(revisions, reverse=True)


def test_down_and_up_again(tmp_path: Path) -> None:
    """Every migration can be taken back, and leaves nothing but the version table."""
    from alembic import command

    with OutcomeStore(f"sqlite:///{tmp_path}/o.db") as store:
        config = Config()
        config.set_main_option("script_location", str(Path(package.__file__).parent / "migrations"))
        config.set_main_option("path_separator", "os")
        with store.engine.begin() as connection:
            config.attributes["connection"] = connection
            command.downgrade(config, "base")
            assert inspect(connection).get_table_names() == [VERSION_TABLE]
    with OutcomeStore(f"sqlite:///{tmp_path}/o.db") as store:
        assert store.record([outcome()]) == 1


def test_a_failed_migration_leaves_nothing(shared_url: str) -> None:
    """A migration that fails half-way is undone as a whole: the next opening starts from the beginning."""
    engine = create_engine(shared_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE fds_fraud_cases (ours INTEGER)"))
    failed = False
    try:
        OutcomeStore(shared_url)
    except Exception:
        failed = True
    assert failed
    assert inspect(engine).get_table_names() == ["fds_fraud_cases"]
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE fds_fraud_cases"))
    engine.dispose()
    with OutcomeStore(shared_url) as store:
        assert store.record([outcome()]) == 1


def test_lives_beside_other_tables(shared_url: str) -> None:
    """The tables may share a database with MLflow's: neither its version table nor its tables are touched."""
    engine = create_engine(shared_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('mlflow')"))
    with OutcomeStore(shared_url) as store:
        assert store.record([outcome()]) == 1
    with engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all() == ["mlflow"]
    engine.dispose()


@pytest.mark.slow
def test_the_package_imports_nothing() -> None:
    """Importing the package is free; SQLAlchemy comes with the store, Alembic only when there is work for it."""
    code = """
import sys
import fds_mlflow.outcomes
assert "sqlalchemy" not in sys.modules
import fds_mlflow.outcomes.store
assert "alembic" not in sys.modules and "mlflow" not in sys.modules and "pandas" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
