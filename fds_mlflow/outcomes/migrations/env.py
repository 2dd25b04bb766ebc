"""Run by Alembic: applies the migrations on the connection, and inside the transaction, it is handed."""

from __future__ import annotations

from alembic import context

from fds_mlflow.outcomes.tables import VERSION_TABLE, Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
    transactional_ddl=True,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
