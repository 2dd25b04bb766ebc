"""The Fraud Detection Handbook's protocol: the published table's rows reproduced beside ours.

    python -m benchmarks.handbook --json                # about a minute: every row once
    python -m benchmarks.handbook --json --seeds 5      # full figures: mean over five seeds
    python -m benchmarks.handbook --choose              # what the settings of our rows were chosen by, minutes
    python -m benchmarks.handbook --lift                # what each idea of the best row gives, on earlier windows

Protocol (Le Borgne, Siblini, Lebichot, Bontempi, *Reproducible Machine Learning for Credit Card Fraud Detection -
Practical Handbook*, chapter 3): training 2018-07-25 to 31, a delay of seven days, test 2018-08-08 to 14; from the
test rows those of customers already known to be compromised are removed: with a fraud in training, or, for test day
d, with one on any day of the delay up to d - 8. The features are the amount and the handbook's 14 columns.

Nothing of ours was chosen on the test week. Rounds come from early stopping on an earlier window (training
2018-07-11 to 17, validation 2018-07-25 to 31), settings and further features from three earlier windows: all of it
data whose labels were known when the test week began. The best row's features are handbook_best.features.yaml beside
this file; it is also measured on every week that the raw file allows, where `start` is the first day of the test.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.report import report
from fds_mlflow.features.table import FeatureSpec, FeatureTable, Window, compute, handbook_spec
from fds_mlflow.training.algorithms import gradient_boosting, isolation_forest
from fds_mlflow.training.evaluation import metrics
from fds_mlflow.training.split import Split

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "handbook"
RAW = "raw_2018-06-01_2018-08-14.parquet"
TRANSFORMED = "transformed_2018-07-25_2018-08-14.parquet"

PUBLISHED = pd.Timestamp("2018-07-25")
EARLIER = (pd.Timestamp("2018-07-11"), pd.Timestamp("2018-07-04"), pd.Timestamp("2018-06-27"))
_DAY = pd.Timedelta(days=1)

#: The published figures: ROC AUC, average precision, card precision@100. Chapters 3 and 7.
TABLE = {
    "logistic regression": (0.871, 0.606, 0.291),
    "random forest": (0.867, 0.658, 0.287),
    "XGBoost": (0.862, 0.639, 0.273),
    "isolation forest (chapter 7, other weeks)": (0.808, 0.164, 0.190),
}

#: What the customer's spending looks like beside its mean: the best of the groups that `--choose` compares.
FURTHER = (
    Window(entity="customer", aggregate="max", windows=("30d",)),
    Window(entity="customer", aggregate="std", windows=("30d",)),
)


#: The features of the best row, and how it is made of them: three seeds, which draw rows and columns, averaged.
BEST = Path(__file__).with_name("handbook_best.features.yaml")
SEEDS = (1, 2, 3)
TREES = 150
DRAWN: dict[str, object] = {"subsample": 0.8, "subsample_freq": 1, "colsample_bytree": 0.5}

#: What more of makes no transaction less suspicious: on the earlier windows .003 of ROC AUC, and nothing else.
RISING = ("amount", "to_usual", "customer_max_to_usual_14d")

#: What each idea of the best row adds to the handbook's columns.
IDEAS: dict[str, tuple[str, ...]] = {
    "customer max and std": ("customer_max_amount_30d", "customer_std_amount_30d"),
    "amount to earlier median": ("to_usual",),
    "that, its largest, those above 3": (
        "to_usual",
        "customer_max_to_usual_14d",
        "customer_count_to_usual_above_3_14d",
    ),
    "terminal's run of frauds": ("terminal_fraud_run_90d",),
    "that, time since first and last": (
        "terminal_fraud_run_90d",
        "terminal_since_first_fraud_90d",
        "terminal_since_last_fraud_90d",
    ),
    "recent to long means": ("day_to_month", "week_to_month"),
}


@dataclass(frozen=True)
class Week:
    """Training and test rows of one window of the protocol."""

    train: FeatureTable
    test: FeatureTable

    def judge(self, score: np.ndarray[Any, np.dtype[np.float64]]) -> dict[str, float]:
        """The three figures of the published table."""
        frame = self.test.frame
        figures = metrics(self.test.y, score, 0.5, customer=frame["customer"].to_numpy(), time=frame["time"].to_numpy())
        names = {"roc_auc": "roc_auc", "average_precision": "average_precision"}
        names["card_precision_100"] = "card_precision_at_100"
        return {name: figures[key] for name, key in names.items()}


def week(table: FeatureTable, start: pd.Timestamp, *, history: int = 0) -> Week:
    """Cut one window: seven days of training, seven of delay, seven of test.

    Args:
        table: All features.
        start: First day of training.
        history: Days before it that are trained on as well; the test rows stay those of the protocol.
    """
    frame = table.frame
    day, fraud = frame["time"].dt.normalize(), frame["label"] == 1
    delay, test_start = start + 7 * _DAY, start + 14 * _DAY
    known = set(frame.loc[fraud & (day >= start) & (day < delay), "customer"])
    kept = np.zeros(len(frame), dtype=bool)
    for offset in range(7):
        # On test day d the frauds of day d - 8 and before have been found out.
        known |= set(frame.loc[fraud & (day == delay + (offset - 1) * _DAY), "customer"])
        kept |= ((day == test_start + offset * _DAY) & ~frame["customer"].isin(known)).to_numpy()
    trained = ((day >= start - history * _DAY) & (day < delay)).to_numpy()
    return Week(table.where(trained), table.where(kept))


def published_features(folder: Path = DATA) -> FeatureTable:
    """The handbook's own engineered columns, without our feature engine."""
    rows = pd.read_parquet(folder / TRANSFORMED)
    spec = handbook_spec()
    frame = pd.DataFrame(
        {
            "transaction_id": rows["TRANSACTION_ID"].astype(str),
            "time": rows["TX_DATETIME"].astype("datetime64[us]"),
            "customer": rows["CUSTOMER_ID"].astype(str),
            "label": rows["TX_FRAUD"].astype(np.int8),
            "amount": rows["TX_AMOUNT"].astype(np.float64),
            **{name: rows[name].astype(np.float64) for name in spec.names if name != "amount"},
        }
    )
    period = (frame["time"].min().to_pydatetime(), frame["time"].max().to_pydatetime())
    return FeatureTable(frame, spec.names, [], spec, "published", TRANSFORMED, period)


def own_features(folder: Path = DATA, further: tuple[Window, ...] = ()) -> FeatureTable:
    """The same columns from the raw transactions by our engine, over all their weeks, and further ones."""
    from fds_mlflow.data.transactions import load

    spec = handbook_spec()
    return compute(load(folder / RAW, "handbook"), spec.model_copy(update={"windows": (*spec.windows, *further)}))


def best_features(folder: Path = DATA) -> FeatureTable:
    """What the best row takes."""
    from fds_mlflow.data.transactions import load

    return compute(load(folder / RAW, "handbook"), FeatureSpec.load(BEST))


def averaged(*cuts: Week) -> dict[str, float]:
    """The figures of the best row over one window, trained on the training rows of each cut of it."""
    rising = [int(name in RISING) for name in cuts[0].train.features]
    models = [boosted(cut.train, TREES, seed, **DRAWN, monotone_constraints=rising) for cut in cuts for seed in SEEDS]
    return cuts[0].judge(np.mean([model.predict(cuts[0].test.x) for model in models], axis=0))


def weeks(table: FeatureTable) -> list[pd.Timestamp]:
    """The first days of training of all windows that the transactions allow, in steps of a week."""
    first = table.frame["time"].min().normalize()
    return [PUBLISHED - number * 7 * _DAY for number in reversed(range((PUBLISHED - first).days // 7 + 1))]


def boosted(part: FeatureTable, trees: int, seed: int, **changes: object) -> Any:
    """LightGBM with our settings and a given number of trees."""
    from lightgbm import LGBMRegressor

    settings = {**gradient_boosting.DEFAULTS, "n_estimators": trees, **changes}
    settings.pop("early_stopping_rounds")
    model = LGBMRegressor(
        objective="binary", random_state=seed, deterministic=True, force_row_wise=True, verbose=-1, n_jobs=1, **settings
    )
    return model.fit(part.x, part.y)


def rounds(table: FeatureTable, seed: int, *, history: int = 0) -> int:
    """Trees at the best average precision of the earlier window, by our own training."""
    earlier = week(table, EARLIER[0], history=history)
    params = {"n_jobs": 1, "num_leaves": gradient_boosting.DEFAULTS["num_leaves"]}
    return gradient_boosting.fit(Split(earlier.train, earlier.test, earlier.test), params, seed, seeds=1).trees


def rows(folder: Path, seed: int) -> Iterator[tuple[str, dict[str, float]]]:
    """Every row of the table, one after the other."""
    published = week(published_features(folder), PUBLISHED)
    for name, model in _references(seed).items():
        fitted = model.fit(published.train.x, published.train.y)
        yield name, published.judge(fitted.predict_proba(published.test.x)[:, 1])
    for name, params in (
        ("isolation forest, 256 rows a tree", {"max_samples": 256}),
        ("isolation forest, ours", {}),
    ):
        # Validated, that is calibrated, on its own training rows: that changes no rank, and so no figure here.
        forest = isolation_forest.fit(Split(published.train, published.train, published.test), params, seed)
        yield name, published.judge(forest.predict(published.test.x))
    variants: list[tuple[str, tuple[Window, ...], int]] = [
        ("LightGBM, ours", (), 0),
        ("LightGBM, ours, further features", FURTHER, 0),
        ("LightGBM, ours, further features, two weeks", FURTHER, 7),
    ]
    best = best_features(folder)
    one, two = week(best, PUBLISHED), week(best, PUBLISHED, history=7)
    yield "LightGBM, ours, best features, three seeds", averaged(one)
    yield "LightGBM, ours, best features, three seeds, two weeks", averaged(two)
    yield "LightGBM, ours, best features, three seeds, both averaged", averaged(one, two)
    tables = {further: own_features(folder, further) for _, further, history in variants if not history}
    for name, further, history in variants:
        cut = week(tables[further], PUBLISHED, history=history)
        trees = rounds(tables[further], seed, history=history)
        yield name, cut.judge(boosted(cut.train, trees, seed).predict(cut.test.x))


def _references(seed: int) -> dict[str, Any]:
    from lightgbm import LGBMClassifier
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return {
        "logistic regression": make_pipeline(StandardScaler(), LogisticRegression(random_state=seed)),
        "random forest": RandomForestClassifier(random_state=seed, n_jobs=-1),
        "LightGBM, default": LGBMClassifier(random_state=seed, n_jobs=1, verbose=-1),
    }


def choose(folder: Path, say: Callable[[str], None]) -> None:
    """Compare settings and further features on the three windows before the published one."""
    candidates: dict[str, tuple[Window, ...]] = {
        "the handbook's": (),
        "customer max": FURTHER[:1],
        "customer std": FURTHER[1:],
        "customer max and std": FURTHER,
        "customer risk": (Window(entity="customer", aggregate="risk", windows=("7d", "30d")),),
        "terminal amounts": (Window(entity="terminal", aggregate="mean", windows=("1d", "7d")),),
        "terminal counts": (Window(entity="terminal", aggregate="count", windows=("1d", "7d")),),
        "terminal risk 3d, 14d": (Window(entity="terminal", aggregate="risk", windows=("3d", "14d")),),
    }
    changes: dict[str, dict[str, object]] = {
        "our settings": {},
        "4 leaves": {"num_leaves": 4},
        "16 leaves": {"num_leaves": 16},
        "rate 0.1": {"learning_rate": 0.1},
        "frauds weigh 5": {"scale_pos_weight": 5.0},
        "balanced": {"scale_pos_weight": None, "is_unbalance": True},
    }
    for features, further in candidates.items():
        table = own_features(folder, further)
        weeks = [week(table, start) for start in EARLIER]
        for name, change in (changes if not further else {"our settings": {}}).items():
            for trees in (100, 200, 300):
                found = [cut.judge(boosted(cut.train, trees, 1, **change).predict(cut.test.x)) for cut in weeks]
                means = " ".join(f"{np.mean([one[key] for one in found]):.4f}" for key in found[0])
                say(f"{features:<24} {name:<16} {trees:>4} trees  {means}")


def lift(folder: Path, say: Callable[[str], None]) -> None:
    """What each idea of the best row gives beside the handbook's columns, one seed without drawing."""
    table = best_features(folder)
    own = [name for name in table.features if all(name not in names for names in IDEAS.values())]
    choices = {"the handbook's": own, "all of it": table.features}
    choices |= {f"+ {idea}": [*own, *names] for idea, names in IDEAS.items()}
    for name, features in choices.items():
        cuts = [week(replace(table, features=features), start) for start in EARLIER]
        found = [cut.judge(boosted(cut.train, TREES, 1).predict(cut.test.x)) for cut in cuts]
        say(f"{name:<40} " + " ".join(f"{np.mean([one[key] for one in found]):.4f}" for key in found[0]))


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark: table on standard error, JSON on standard output."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.handbook", description=str(__doc__).split("\n", 1)[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--seeds", type=int, default=1, help="seeds to average over (default 1)")
    parser.add_argument("--data", type=Path, default=DATA, help="folder with the two Parquet files")
    parser.add_argument("--choose", action="store_true", help="compare settings on earlier windows, and stop")
    parser.add_argument("--lift", action="store_true", help="what each idea gives on earlier windows, and stop")
    options = parser.parse_args(arguments)
    if not (options.data / RAW).is_file():
        parser.error(f"{options.data / RAW} is not there: give the folder with --data")
    if options.choose or options.lift:
        compared = choose if options.choose else lift
        compared(options.data, lambda line: print(line, file=sys.stderr, flush=True))
        return
    found: dict[str, list[dict[str, float]]] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in range(1, options.seeds + 1):
            for name, figures in rows(options.data, seed):
                found.setdefault(name, []).append(figures)
    means = {
        name: {key: float(np.mean([one[key] for one in several])) for key in several[0]}
        for name, several in found.items()
    }
    table: list[list[object]] = [["model", "ROC AUC", "average precision", "card precision@100", "published"]]
    for name in [*means, *(name for name in TABLE if name not in means)]:
        own = [f"{value:.3f}" for value in means[name].values()] if name in means else ["-"] * 3
        table.append([name, *own, " / ".join(f"{value:.3f}" for value in TABLE[name]) if name in TABLE else "-"])
    best = best_features(options.data)
    every = {start: averaged(week(best, start)) for start in weeks(best)}
    spread = {key: [one[key] for one in every.values()] for key in means[next(iter(means))]}
    for start, figures in every.items():
        table.append([f"the best, tested from {start + 14 * _DAY:%m-%d}", *map("{:.3f}".format, figures.values()), "-"])
    of_all = [f"{np.mean(one):.3f} ± {np.std(one, ddof=1):.3f}" for one in spread.values()]
    table.append(["the best, all weeks (standard deviation)", *of_all, "-"])
    told = {
        "rows": means,
        "weeks": [{"start": f"{start + 14 * _DAY:%Y-%m-%d}", **figures} for start, figures in every.items()],
        "weeks_mean": {key: float(np.mean(one)) for key, one in spread.items()},
        "weeks_spread": {key: float(np.std(one, ddof=1)) for key, one in spread.items()},
    }
    report("The handbook's protocol: test 2018-08-08 to 14", table, told, options.json)


if __name__ == "__main__":
    main()
