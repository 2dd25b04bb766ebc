"""Airflow 3: retrain, rehearse, start the canary, watch it until its end. `fds` has an environment of its own."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.sensors.bash import BashSensor
from airflow.sdk import dag, task

VERSION = "{{ ti.xcom_pull(task_ids='retrain')['staged'] }}"
HERE = {"cwd": "/var/lib/fds", "append_env": True, "env": {"FDS_ACTOR": "airflow {{ run_id }}"}}


@dag(schedule="17 2 * * *", start_date=datetime(2026, 1, 1, tzinfo=UTC), catchup=False, max_active_runs=1)
def release_fraud() -> None:
    """One release a night, if there is anything to release."""
    retrain = BashOperator(
        task_id="retrain",
        bash_command="fds retrain fraud --data transactions.parquet --json",
        output_processor=json.loads,  # of the last line
        retries=3,  # a retry goes on where the attempt before it was killed
        retry_delay=timedelta(minutes=5),
        **HERE,
    )

    @task.short_circuit
    def anything_new(retrained: dict[str, object]) -> bool:
        """Skip the rest where nothing is new, or nothing better."""
        return retrained["staged"] is not None and not retrained["repeated"]

    rehearse = BashOperator(
        task_id="rehearse",
        bash_command="fds canary rehearse --plan plan.yaml --data transactions.parquet --model fraud"
        f" --version {VERSION} --replays 40 --json > rehearsed.json"
        " && jq -e '(.outcomes.abort // 0) < 0.5' rehearsed.json",
        **HERE,
    )
    start = BashOperator(
        task_id="start",
        bash_command=f"fds canary start fraud {VERSION} --plan plan.yaml --reason 'nightly release'",
        **HERE,
    )
    end = BashSensor(
        task_id="end",  # each look writes the report anew; a task behind this one would hide that it failed
        bash_command="fds canary report fraud --output /var/lib/fds/report.html;"
        " fds canary status fraud --wait --timeout 1s",
        retry_exit_code=4,  # 0: it became champion; 3: aborted or rolled back; 4: under way still
        mode="reschedule",
        poke_interval=300,
        timeout=12 * 3600,
    )
    anything_new(retrain.output) >> rehearse >> start >> end


release_fraud()
