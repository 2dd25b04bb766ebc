"""The card of a version: its figures, their intervals, where it does worse, and how it is written."""

from __future__ import annotations

import re
from dataclasses import replace
from io import BytesIO
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from fds_mlflow.core.lifecycle.events import Event, Kind
from fds_mlflow.display.document import html, markdown
from fds_mlflow.features.spec import FeatureSpec
from fds_mlflow.features.table import FeatureTable
from fds_mlflow.training import calibration, evaluation
from fds_mlflow.training.card import pdf
from fds_mlflow.training.card.card import Card, document, limits, sections
from fds_mlflow.training.card.facts import Facts, Part
from fds_mlflow.training.card.figures import Figure, Segment, _ranks, figures, segments
from tests.support.samples import NOON

HOSTILE = "<script>alert('x')</script> | `a` [b](http://evil) $x$ \u202e \x1b[31m ünï 日本 \n# title"


def scored(rows: int = 4_000, seed: int = 0) -> tuple[Any, Any]:
    """Labels, four in a hundred fraud, and scores that rank them fairly well."""
    random = np.random.default_rng(seed)
    y = (random.random(rows) < 0.04).astype(np.int8)
    return y, 1 / (1 + np.exp(-random.normal(-3 + 2.5 * y, 1.2)))


def by_name(found: list[Figure]) -> dict[str, Figure]:
    """Figures by name."""
    return {one.name: one for one in found}


def test_the_figures_are_the_metrics_and_shares_have_their_exact_intervals() -> None:
    """Values are those that the run has, digit for digit; recall's interval is that of Clopper and Pearson."""
    y, score = scored()
    metrics = {**evaluation.metrics(y, score, 0.3), "val_recall": 0.5}
    found = by_name(figures(metrics, y, score, 0.3))
    assert {name: one.value for name, one in found.items()} == {
        name: value for name, value in metrics.items() if name not in ("threshold", "val_recall")
    }
    hits = int(((score >= 0.3) & (y == 1)).sum())
    exact = binomtest(hits, int(y.sum())).proportion_ci(0.95, "exact")
    assert (found["recall"].low, found["recall"].high) == pytest.approx((exact.low, exact.high))
    assert all(one.low is not None and one.low <= one.value <= (one.high or 0) for one in found.values())


def test_samples_measure_what_the_metrics_measure() -> None:
    """A sample that takes each row once has the very metrics, ties included."""
    y, score = scored()
    score = np.round(score, 2)
    order = np.argsort(-score, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(score[order])), len(y) - 1)
    found = _ranks((y == 1)[order], np.ones(len(y)), ends, int((score >= 0.3).sum()))
    metrics = evaluation.metrics(y, score, 0.3)
    names = ("roc_auc", "average_precision", "f1", "recall_at_fpr_1pct", "recall_at_fpr_2pct")
    assert found == pytest.approx([metrics[name] for name in names])


def test_intervals_hold_what_many_draws_give() -> None:
    """The interval of the average precision covers its value in the population about as often as it says."""
    truth = evaluation.metrics(*scored(200_000, 1), 0.3)["average_precision"]
    covered = 0
    for seed in range(100, 160):
        y, score = scored(2_000, seed)
        one = by_name(figures({"average_precision": 0.0}, y, score, 0.3))["average_precision"]
        covered += bool(one.low is not None and one.high is not None and one.low <= truth <= one.high)
    assert covered >= 51  # 57 of 60 are expected


def test_customers_whose_transactions_are_alike_widen_the_interval() -> None:
    """Each row forty times over, as one customer, says no more than once; as rows of their own it would."""
    y, score = scored(400)
    many = np.repeat(y, 40), np.repeat(score, 40)
    metrics = {"average_precision": 0.0}
    alone, together = (
        by_name(figures(metrics, *many, 0.3, customer=customer))["average_precision"]
        for customer in (None, np.repeat(np.arange(400), 40))
    )
    width = [(one.high or 0) - (one.low or 0) for one in (alone, together)]
    assert width[1] > 3 * width[0]


def table(score: Any, y: Any) -> FeatureTable:
    """Rows with a channel, an amount and a time."""
    rows = len(y)
    frame = pd.DataFrame(
        {
            "time": pd.date_range("2026-01-01", periods=rows, freq="h"),
            "label": y,
            "amount": np.arange(rows, dtype=np.float64),
            "channel": np.where(np.arange(rows) % 4, "shop", "phone"),
        }
    )
    spec = FeatureSpec(numeric=("amount",), categorical=("channel",))
    return FeatureTable(frame, spec.names, ["channel"], spec, "", "", None)


def test_a_segment_that_does_worse_is_a_known_limit() -> None:
    """Where the version is blind it is said by name, with both intervals; where it is not, nothing is."""
    y, score = scored(8_000)
    blind = np.where(np.arange(len(y)) % 4 == 0, np.minimum(score, 0.1), score)
    for given, said in ((score, 0), (blind, 1)):
        told = segments(table(given, y), given, 0.3, {"channel": 1.0})
        assert [one.name for one in told if one.by == "channel"] == ["shop", "phone"]
        assert sum(one.rows for one in told if one.by == "amount") == len(y)
        assert sum(one.frauds for one in told if one.by == "time") == int(y.sum())
        facts = Facts(algorithm="x", segments=told, figures=figures(evaluation.metrics(y, given, 0.3), y, given, 0.3))
        found = [one for one in limits(facts) if one.startswith("Recall is worse where channel is phone")]
        assert len(found) == said


def test_calibration_says_whether_scores_are_chances() -> None:
    """Scores that are chances lie in their intervals; halved, they do not, and the card says so."""
    random = np.random.default_rng(3)
    chance = random.beta(0.3, 8, 60_000)
    y = (random.random(60_000) < chance).astype(np.int8)
    sound, halved = (calibration.bins(y, score, np.ones(len(y))) for score in (chance, chance / 2))
    assert sum(one.off for one in sound) <= 1
    assert sum(one.off for one in halved) >= 9
    assert "Some scores are no chances: see Calibration." in list(limits(Facts(algorithm="x", calibration=halved)))


def hostile() -> Card:
    """A card in which every text that somebody gives is hostile."""
    y, score = scored(500)
    facts = Facts(
        algorithm=HOSTILE,
        source=HOSTILE,
        digest="d" * 32,
        parts=[Part("train", 10, 1, "2026-01-01", "2026-01-02")],
        features=[HOSTILE],
        importance=[1.0],
        params={HOSTILE: HOSTILE},
        threshold=0.3,
        figures=figures(evaluation.metrics(y, score, 0.3), y, score, 0.3),
        segments=[Segment(HOSTILE, HOSTILE, 5, 1, [Figure("recall", 1.0, 0.1, 1.0)])],
        warnings=[HOSTILE],
        notes=[HOSTILE],
    )
    event = Event(1, "o", Kind.STAGE, HOSTILE, HOSTILE, NOON, None, 2)
    return Card(HOSTILE, 2, facts, purpose=HOSTILE, events=(event,), run_id="r", pictures={"roc": png()})


def png() -> bytes:
    """A small picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Plot

    target = BytesIO()
    FigureCanvasAgg(Plot(figsize=(1, 1))).print_png(target)
    return target.getvalue()


def test_the_page_shows_hostile_names_as_they_are_and_fetches_nothing() -> None:
    """No text becomes an element; what acts is written out; pictures are in the page; there is no address to load."""
    page = html(document(hostile()))
    assert "<script" not in page
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in page
    assert "\u202e" not in page
    assert "\x1b" not in page
    assert set(re.findall(r'(?:src|href)="([a-z]+:)', page)) == {"data:"}
    assert "url(" not in page
    assert "日本" in page


def test_markdown_has_one_line_for_each_item_whatever_the_names_are() -> None:
    """A line break, a bar or a link in a name ends no cell and begins no heading."""
    text = markdown(document(hostile()))
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        text.splitlines()[0],
        *(f"## {section.title}" for section in sections(hostile())),
    ]
    assert "<script" not in text.replace(r"\<script", "")
    assert "](http" not in text.replace(r"\](http", "")
    widths = {len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines() if "stage" in line}
    assert widths == {5}


def test_a_pdf_is_written_with_names_of_many_alphabets() -> None:
    """It is a PDF whatever the texts are; a sign that the fonts do not have is written out, and none is lost."""
    card = hostile()
    assert pdf.rendered(card).startswith(b"%PDF-")
    assert pdf._said("Žluťoučký Ελλάδα Москва") == "Žluťoučký Ελλάδα Москва"
    assert pdf._said("日") == r"\u65e5"
    plain = replace(card, facts=Facts(algorithm="x", complete=False), pictures={}, events=())
    assert pdf.rendered(plain).startswith(b"%PDF-")


@pytest.mark.parametrize("text", ["W" * 6_000, "word " * 1_200, "日" * 6_000, "a\n" * 3_000])
def test_a_text_longer_than_a_page_stops_no_pdf(text: str) -> None:
    """A parameter of six thousand signs, as constraints of many features are, is cut in its cell, and that is said."""
    facts = Facts(
        algorithm="x",
        params={"interaction_constraints": text, text: "1"},
        segments=[Segment("country", text, 5, 1, [Figure("recall", 1.0, 0.1, 1.0)])],
    )
    event = Event(1, "o", Kind.STAGE, text[:1_000], text, NOON, None, 2)
    card = Card("fraud", 2, facts, purpose=text, events=(event,))
    assert pdf.rendered(card).startswith(b"%PDF-")


def test_nothing_known_is_said_so() -> None:
    """A version that was trained elsewhere has a card that says what it lacks, and no empty claim."""
    text = markdown(document(Card("fraud", 3, Facts(algorithm="unknown", complete=False))))
    for said in ("No figures were recorded", "Segments were not looked at", "Nobody has staged or promoted it"):
        assert said in text
    assert "intervals, segments and calibration are unknown" in text


def test_facts_read_back() -> None:
    """What a run keeps is what was known."""
    facts = hostile().facts
    assert msgspec.json.decode(msgspec.json.encode(facts), type=Facts) == facts
