"""What `--help` says beside the options: an example of each verb, and the variables of the environment."""

from __future__ import annotations

import click

from fds_mlflow.runtime import environment

EXAMPLES = {
    "adopt": "fds adopt fraud 3 --data recent.csv --target-fpr 0.01",
    "approve": "fds approve 01K6ZQ8V3M5T7W9X1Y2Z3A4B5C --execute",
    "aliases": 'fds aliases fraud --champion prod --canary candidate --reason "as we call them"',
    "canary abort": 'fds canary abort fraud --reason "flags too many customers"',
    "canary advance": 'fds canary advance fraud --to 25 --reason "step 1 passed"',
    "canary complete": 'fds canary complete fraud --reason "all steps passed"',
    "canary pause": 'fds canary pause fraud --reason "public holiday"',
    "canary resume": "fds canary resume fraud",
    "canary rehearse": "fds canary rehearse --plan plan.yaml --data history.parquet --plot rehearsal.png",
    "canary run": "fds canary run fraud --interval 1m",
    "canary report": "fds canary report fraud --output report.html",
    "canary start": 'fds canary start fraud 2 --plan plan.yaml --reason "weekly retrain"',
    "canary status": "fds canary status fraud --json",
    "canary tick": "fds canary tick fraud",
    "card": "fds card fraud 4 --output card.html",
    "config delete": "fds config delete old",
    "config set": "fds config set prod --tracking-uri https://mlflow.example.com --outcomes postgresql://db/fds",
    "config show": "fds config show",
    "config use": "fds config use prod",
    "compare": "fds compare fraud 1 2 --data transactions.parquet --schema schema.yaml",
    "data describe": "fds data describe transactions.csv",
    "demo": "fds demo --output demo-output --rows 60000",
    "doctor": "fds doctor fraud --fix",
    "drift": "fds drift fraud --data transactions.parquet --since 30d",
    "features check": "fds features check handbook --schema handbook",
    "features explain": "fds features explain handbook",
    "features compute": "fds features compute shop-features.yaml --input orders.csv --schema my-shop.yaml -o f.parquet",
    "features load": "fds features load shop-features.yaml --data orders.csv --schema my-shop.yaml --state state",
    "features verify": "fds features verify shop-features.yaml --data orders.csv --schema my-shop.yaml",
    "features show": "fds features show customer C42 --state state",
    "features skew": "fds features skew fraud --since 7d --data transactions.parquet",
    "features forget": "fds features forget customer C42 --state state",
    "features template": "fds features template --schema schema.yaml",
    "history export": "fds history export fraud history.jsonl",
    "history import": "fds history import fraud history.jsonl",
    "history show": "fds history fraud",
    "label import": "fds label import labels.csv",
    "list": "fds list",
    "outcomes drain": "fds outcomes drain parquet:outcomes",
    "outcomes forget": "fds outcomes forget customer_id C42 --dry-run",
    "outcomes prune": "fds outcomes prune fraud --older-than 180d",
    "outcomes show": "fds outcomes show TX1",
    "outcomes stats": "fds outcomes stats",
    "notify resend": "fds notify resend fraud --since 12",
    "notify test": "fds notify test fraud",
    "plan check": "fds plan check plan.yaml --traffic 50/s --rate missed_fraud=0.002",
    "plan template": "fds plan template --output plan.yaml",
    "policy": "fds policy fraud --require-approval start,complete,promote",
    "promote": 'fds promote fraud 2 --data transactions.parquet --schema schema.yaml --reason "better on last month"',
    "reject": 'fds reject 01K6ZQ8V3M5T7W9X1Y2Z3A4B5C --reason "not on a Friday"',
    "report": "fds report --since 90d --output report.html",
    "requests": "fds requests",
    "retire": 'fds retire fraud 3 --reason "trained on wrong labels"',
    "retrain": "fds retrain fraud --data transactions.parquet --labels outcomes --label-maturity 30d --canary last",
    "rollback candidates": "fds rollback candidates fraud",
    "rollback emergency": 'fds rollback emergency fraud --reason "support reports blocked customers"',
    "rollback to": 'fds rollback to fraud 1 --reason "known good"',
    "rollback validate": "fds rollback validate fraud 1",
    "route": "fds route fraud TX0001 TX0002",
    "schema infer": "fds schema infer transactions.csv --label is_fraud > transactions.schema.yaml",
    "score": "fds score fraud --input transactions.parquet --output scores.parquet --rollout",
    "serve": "fds serve fraud --port 5001 --workers 2 --shadow 10",
    "settle": "fds settle fraud",
    "show": "fds show fraud",
    "simulate": "fds simulate transactions.parquet --rows 100000 --fraud-rate 0.01",
    "stage": 'fds stage fraud 2 --reason "trained on spring data"',
    "train": "fds train fraud --algorithm lightgbm --data simulator:20000 --param num_leaves=15",
}
"""By verb, a call as somebody would make it."""

VARIABLES = {
    environment.CONFIG: "the file of contexts",
    environment.NOTIFY: "whom to tell in words: slack://... and the like",
    environment.PAGE: "whom to tell only what somebody must see at once",
    environment.WEBHOOK_URL: "where to POST each event",
    environment.WEBHOOK_SECRET: "what to sign it with",
    environment.HOOK: "module:function to call with each event",
    environment.HISTORY_KEY: "the team's key: its events are told from forged",
    environment.DESCRIPTIONS: "off: write nothing into MLflow's descriptions",
    environment.RUN_CONTEXT: "tags for the runs of a child process, as JSON",
    environment.MODEL_ENVIRONMENT: "variables that the code of a model may see",
    environment.DEPLOYMENTS: "read or write: what MLflow's deployments may do",
    environment.BASE_APP: "the app of MLflow's server below the page",
    environment.PAGE_ACCESS: "module:function that tells the page who asks",
    environment.LOG_LEVEL: "how much is logged: DEBUG, INFO, WARNING",
    environment.TRACEBACK: "1: show the traceback of an error",
}
"""Variables that no option names, and what they are for."""

_EVERYWHERE = "Options of all verbs may stand here, too: fds --help."


def describe(main: click.Group) -> None:
    """Give each verb its example, and the whole its variables."""
    width = max(map(len, VARIABLES))
    lines = [f"  {name:{width}}  {meaning}" for name, meaning in VARIABLES.items()]
    main.epilog = "\n".join(["\b", "Environment, beside what stands with an option:", *lines])
    _describe(main, "")
    _show_variables(main)


def _describe(group: click.Group, path: str) -> None:
    for name, command in group.commands.items():
        words = f"{path} {name}".strip()
        if isinstance(command, click.Group):
            _describe(command, words)
        if words in EXAMPLES:
            command.epilog = f"\b\nExample:\n  {EXAMPLES[words]}\n\n{_EVERYWHERE}"
        _show_variables(command)


def _show_variables(command: click.Command) -> None:
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            parameter.show_envvar = True
