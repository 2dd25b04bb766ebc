"""Airflow 3: one task a night. A retry goes on where the attempt before it was killed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

with DAG(
    "fds_retrain_fraud",
    schedule="17 2 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,  # each night takes all labels there are: nights that were missed need no run of their own
    max_active_runs=1,
) as dag:
    BashOperator(
        task_id="retrain",
        bash_command=(
            "/opt/fds/bin/fds retrain fraud --data /var/lib/fds/transactions.parquet --labels outcomes"
            " --label-maturity 30d --min-labels 200 --canary last --json"
        ),
        retries=3,
        retry_delay=timedelta(minutes=5),
        execution_timeout=timedelta(hours=3),
        append_env=True,  # MLFLOW_TRACKING_URI and FDS_OUTCOMES_URI are those of the worker
    )
