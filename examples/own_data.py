# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
"""# Your own file, from its first look to a new champion

A schema is inferred from the file, features are declared, two versions are trained and compared on the same rows. One
serves, the other one is tried on traffic until the judge decides, and a report tells what happened.

A notebook and a script: `python examples/own_data.py [FOLDER [FILE LABEL]]`. Everything it makes lies in FOLDER, by
default `own-data`. FILE holds transactions (CSV, Parquet, a workbook), LABEL is its column that tells the frauds.
"""

# %%
import sys
from pathlib import Path

import mlflow

from fds_mlflow import CaseRecord, Guardrail, ManagedModel, Plan
from fds_mlflow.features.spec import FeatureSpec, Flag, Gap, Window
from fds_mlflow.rollouts.record.recorder import RolloutRecorder
from fds_mlflow.rollouts.report import report
from fds_mlflow.simulator.simulate import transactions
from fds_mlflow.workflows import Source, describe, infer, prepare, train

MODEL = "shop"

# %% [markdown]
# ## The file
#
# Name your own here. Without one, a shop's orders are simulated, under the names that this shop gives its columns.

# %%
words = [] if "ipykernel" in sys.modules else sys.argv[1:]  # the words after a notebook are its kernel's
folder = Path(words[0] if words else "own-data").resolve()
file, label = (Path(words[1]), words[2]) if len(words) > 1 else (folder / "orders.csv", "chargeback")

folder.mkdir(parents=True, exist_ok=True)
if not file.exists():
    names = {
        "transaction_id": "order_no",
        "time": "ordered_at",
        "amount": "total",
        "customer_id": "customer_no",
        "device_id": "device_hash",
        "merchant_category": "department",
        "failed_login_attempts": "wrong_passwords",
        "is_fraud": "chargeback",
        "label_known_at": "chargeback_date",
    }
    orders = transactions(8_000, fraud_rate=0.03).rename(columns=names)
    orders[list(names.values())].to_csv(file, index=False)

# %% [markdown]
# ## The schema
#
# Which column plays which role: each guess comes with its evidence, and what no file can tell stands at the top. Read
# that list before you trust a model. `fds schema infer` writes the same.

# %%
found = infer(str(file), label)
(folder / f"{file.name.split('.')[0]}.schema.yaml").write_text(found.yaml(), encoding="utf-8")
print(found.yaml())

# %%
source = Source(str(file), schema=found.schema)
profile = describe(file, found.schema)
print(f"{profile.rows:,} rows, {profile.frauds:,} frauds", *profile.warnings, sep="\n")

# %% [markdown]
# ## The features
#
# A small specification: columns as they are, and what each customer, card or device did before. Without one, training
# takes all that the schema allows; `fds features template` writes those down, to be changed.

# %%
entities = found.schema.entities
features = FeatureSpec(
    numeric=("amount", *found.schema.numeric),
    flags=(Flag(flag="night"),),
    windows=(
        *(Window(entity=entity, aggregate="count", windows=("1h", "1d", "7d")) for entity in entities),
        *(Window(entity=entity, aggregate="mean", windows=("7d",)) for entity in entities),
    ),
    gaps=tuple(Gap(entity=entity) for entity in entities),
)
parts = prepare(source, features=features)
print(f"{len(features.names)} features: {', '.join(features.names)}")

# %% [markdown]
# ## Two models
#
# Each training is an MLflow run with its metrics, plots and data, and a version of the registered model.

# %%
tracking_uri = f"sqlite:///{folder / 'mlflow.db'}"
mlflow.set_tracking_uri(tracking_uri)
for experiment in (f"fds/{MODEL}", f"fds/rollouts/{MODEL}"):  # else their artifacts would lie where this runs
    if mlflow.get_experiment_by_name(experiment) is None:
        mlflow.create_experiment(experiment, artifact_location=(folder / "artifacts").as_uri())

first = train(parts, MODEL, algorithm="isolation_forest")
second = train(parts, MODEL, algorithm="lightgbm", params={"n_estimators": 100})

# %% [markdown]
# ## Compare
#
# The same rows for both, each at its own threshold, with 95 % intervals of the difference.

# %%
shop = ManagedModel(MODEL, tracking_uri=tracking_uri, outcomes=f"sqlite:///{folder / 'outcomes.db'}", actor="notebook")
comparison = shop.compare(first.version, second.version, data=parts.test, n_boot=200)
for delta in comparison.deltas:
    print(f"{delta.metric:20} {delta.baseline:7.4f} {delta.candidate:7.4f}  {delta.change}")
print(f"{comparison.advice}: {comparison.reason}")

# %% [markdown]
# ## A canary
#
# The first version serves everybody, unless one serves already. The second one gets 10 %, then half of the traffic, as
# long as it answers and does not flag twice as many transactions. Live, a server answers (`fds serve`) and an autopilot
# looks (`fds canary run`); here the test rows come again day by day under new ids, with their labels.

# %%
if shop.overview().champion is None:
    shop.promote(first.version, reason="the first model")
guardrails = [Guardrail("error_rate", limit=0.05), Guardrail("alert_rate", margin=1.0, required=False)]
plan = Plan([10, 50, 100], guardrails=guardrails, min_outcomes=20)
shop.canary.start(second.version, plan=plan, reason="LightGBM instead of an isolation forest")

router = shop.router(poll_seconds=0)
for day in range(20):
    requests = parts.test.frame.assign(transaction_id=parts.test.frame["transaction_id"] + f"/{day}")
    router.predict(requests, key="transaction_id")
    now = shop.session.now()
    shop.outcomes.label(
        [
            CaseRecord(transaction_id=key, status="confirmed" if fraud else "genuine", known_at=now)
            for key, fraud in zip(requests["transaction_id"], requests["label"], strict=True)
        ]
    )
    tick = shop.canary.tick()
    print(tick.recommendation.reason if tick.recommendation else tick.error)
    if tick.ended:
        break

# %% [markdown]
# ## The report
#
# One page for whoever asks later: what was tried, what came of it, who decided and why. It needs no network.

# %%
page = folder / "report.html"
page.write_text(report.render(RolloutRecorder(shop.session).story()), encoding="utf-8")
print(f"version {shop.overview().champion} serves; the report is in {page}")

# %%
for event in reversed(shop.history()):
    print(f"{event.sequence} {event.kind:8} {event.from_version} -> {event.to_version}  {event.reason}")
