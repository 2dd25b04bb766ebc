"""A version's card, section by section: what is written as Markdown, HTML and PDF."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from fds_mlflow.core.lifecycle.decision import done, who
from fds_mlflow.core.lifecycle.events import Ending, Event
from fds_mlflow.core.text.numbers import percent
from fds_mlflow.display.document import Document, Picture, Section, Table
from fds_mlflow.training.card.facts import Facts
from fds_mlflow.training.card.figures import RANKS, Figure, Segment, worse

CALLED = {
    "roc_auc": "ROC AUC",
    "average_precision": "Average precision",
    "recall": "Recall",
    "precision": "Precision",
    "false_positive_rate": "False positive rate",
    "flagged_rate": "Flagged rate",
    "f1": "F1",
    "accuracy": "Accuracy",
    "recall_at_fpr_1pct": "Recall at 1 % false positives",
    "recall_at_fpr_2pct": "Recall at 2 % false positives",
    "card_precision_at_100": "Card precision at 100 a day",
}
_SHOWN_FEATURES = 15
_PLOTS = {
    "calibration": "Calibration on the test part.",
    "precision_recall": "Precision and recall on the test part.",
    "roc": "ROC curve on the test part.",
    "score_distribution": "Scores of the test part, by class.",
    "importance": "What the features count for.",
}


@dataclass(frozen=True)
class Card:
    """All that is known of a version.

    Attributes:
        model: The registered model.
        version: Its number; None before it has one.
        facts: What its training knows.
        role: champion, canary, or its stage; empty where it has none.
        purpose: What the team says the model is for; empty where it says nothing.
        tags: The version's tags: digests, commit.
        events: What happened to the version, the earliest first.
        pictures: PNG files of the run's plots, by their stem.
        run_id: The run; empty where it has none.
    """

    model: str
    version: int | None
    facts: Facts
    role: str = ""
    purpose: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    events: tuple[Event, ...] = ()
    pictures: dict[str, bytes] = field(default_factory=dict)
    run_id: str = ""

    @property
    def title(self) -> str:
        """The name of the card."""
        return f"{self.model}, version {self.version}" if self.version else f"{self.model}, a version"


def document(card: Card) -> Document:
    """The card as a document, for HTML and Markdown."""
    return Document(card.title, "Model card", sections(card), pictures=card.pictures)


def sections(card: Card) -> list[Section]:
    """The card's sections, in order; one about which nothing is known says so."""
    made = [
        Section("Intended use", list(_use(card))),
        Section("Data", list(_data(card.facts))),
        Section("Features", list(_features(card))),
        Section("Performance", list(_performance(card))),
        Section("By segment", list(_segments(card.facts))),
        Section("Calibration", list(_calibration(card))),
        Section("Known limits", [list(limits(card.facts))]),
        Section("Approval", list(_approval(card))),
        Section("To make it again", list(_origin(card))),
    ]
    return [section for section in made if section.blocks]


def _use(card: Card) -> Iterator[str | list[str]]:
    facts = card.facts
    yield card.purpose or (
        "The team has not said what the model is for: the registered model's description stands here."
    )
    flags = "" if facts.threshold is None else f" A transaction is flagged from a score of {facts.threshold:.4g} on"
    aimed = "" if facts.target_fpr is None else f", chosen to flag {percent(facts.target_fpr)} of genuine ones"
    yield (
        "It scores transactions from 0 to 1, higher for more suspicious, of the kind and source that it was trained on."
        f"{flags}{aimed}{'.' if flags else ''}"
    )
    yield "It is not made for other kinds of transactions, other countries' rules, or to decide about people."
    yield f"Today it is: {card.role}." if card.role else "It serves no traffic today."


def _data(facts: Facts) -> Iterator[str | Table]:
    if facts.source:
        yield f"Source: {facts.source}. Digest: {facts.digest}."
    if not facts.parts:
        yield "What the parts of the data hold was not recorded."
        return
    rows = [
        (
            part.name,
            f"{part.rows:,}",
            "unknown" if part.frauds is None else f"{part.frauds:,}",
            "" if part.frauds is None or not part.rows else percent(part.frauds / part.rows),
            part.first,
            part.last,
        )
        for part in facts.parts
    ]
    yield Table(("part", "transactions", "frauds", "fraud rate", "from", "to"), rows)
    method = facts.split.get("split", "")
    gap = facts.split.get("split_gap_days")
    if method == "time":
        yield f"The parts follow each other in time, with {gap} days between them in which labels become known."
    elif method:
        yield f"The parts were drawn at random ({method}): expect better figures here than in service."


def _features(card: Card) -> Iterator[str | Table | Picture]:
    facts = card.facts
    if not facts.features:
        yield "The features were not recorded."
        return
    most = max(sum(facts.importance), 1e-300)
    shown = list(zip(facts.features, facts.importance, strict=False))[:_SHOWN_FEATURES]
    yield f"{len(facts.features):,} features; the first {len(shown)} by {facts.unit or 'importance'}:"
    yield Table(("feature", "share"), [(name, percent(value / most)) for name, value in shown])
    yield from _pictured(card, "importance")


def _pictured(card: Card, *names: str) -> Iterator[Picture]:
    yield from (Picture(name, _PLOTS[name]) for name in names if name in card.pictures)


def _performance(card: Card) -> Iterator[str | Table | Picture]:
    facts = card.facts
    if not facts.figures:
        yield "No figures were recorded."
        return
    yield Table(("on the test part", "value", "95 % interval"), [figure_row(one) for one in facts.figures])
    if facts.complete and any(one.low is not None for one in facts.figures):
        drawn = ", ".join(CALLED[name] for name in RANKS)
        yield (
            f"Intervals of shares are exact (Clopper and Pearson, 1934), those of {drawn} are percentiles of bootstrap"
            " samples, of customers where they are known. The others have none."
        )
    yield from _pictured(card, "precision_recall", "roc", "score_distribution")


def figure_row(one: Figure) -> tuple[str, str, str]:
    """A figure as a row of texts: name, value, interval."""
    interval = "" if one.low is None or one.high is None else f"{one.low:.3f} to {one.high:.3f}"
    return CALLED.get(one.name, one.name), f"{one.value:.3f}", interval


def _segments(facts: Facts) -> Iterator[str | Table]:
    if not facts.segments:
        yield "Segments were not looked at."
        return
    for by in dict.fromkeys(one.by for one in facts.segments):
        rows = [_segment_row(one) for one in facts.segments if one.by == by]
        yield Table((by, "transactions", "frauds", "recall", "precision", "false positive rate"), rows)
    yield "Each share stands with its exact 95 % interval, at the version's threshold."


def _segment_row(one: Segment) -> tuple[str, ...]:
    cells = []
    for name in ("recall", "precision", "false_positive_rate"):
        figure = one.figure(name)
        cells.append("" if figure is None else f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})")
    return one.name, f"{one.rows:,}", f"{one.frauds:,}", *cells


def _calibration(card: Card) -> Iterator[str | Table | Picture]:
    found = card.facts.calibration
    if not found:
        yield "Calibration was not looked at."
        return
    rows = [
        (percent(one.score), percent(one.observed), f"{percent(one.low)} to {percent(one.high)}", f"{one.rows:,.0f}")
        for one in found
    ]
    yield Table(("mean score", "share of frauds", "95 % interval", "transactions"), rows)
    off = sum(one.off for one in found)
    yield (
        "In every bin the mean score lies within the interval of the share of frauds: the scores are chances."
        if not off
        else f"In {off} of {len(found)} bins the mean score lies outside of it: use the scores to rank, not as chances."
    )
    yield from _pictured(card, "calibration")


def limits(facts: Facts) -> Iterator[str]:
    """What is known to limit a version, a sentence each."""
    yield from (f"Warning: {warning}." for warning in facts.warnings)
    whole = {one.name: one for one in facts.figures}
    for segment in facts.segments:
        for figure, all_ in worse(segment, whole):
            called = CALLED[figure.name]
            yield (
                f"{called} is worse where {segment.by} is {segment.name}: {figure.value:.3f} ({figure.low:.3f} to"
                f" {figure.high:.3f}), {all_.value:.3f} over all."
            )
    if any(one.off for one in facts.calibration):
        yield "Some scores are no chances: see Calibration."
    if not facts.complete:
        yield "The version was trained before cards, or elsewhere: intervals, segments and calibration are unknown."
    if facts.parts and facts.parts[0].first:
        last = max(part.last for part in facts.parts)
        yield f"What changed after {last} it has not seen: fds drift tells how far inputs have moved since."
    yield from (f"{note[:1].upper()}{note[1:]}." for note in facts.notes)
    yield "What was flagged and blocked may never get a label: figures hold for transactions like the labelled ones."


def _approval(card: Card) -> Iterator[str | Table]:
    rows = [
        (
            f"{event.time:%Y-%m-%d %H:%M} UTC",
            f"{who(event)}{'' if event.signed_in else ' (as they claim)'}",
            done(event),
            event.reason,
        )
        for event in card.events
        if event.outcome is Ending.DONE
    ]
    if not rows:
        yield "Nobody has staged or promoted it."
        return
    yield Table(("when", "who", "what", "why"), rows, text=True)


def _origin(card: Card) -> Iterator[str | Table]:
    facts = card.facts
    named = {
        "algorithm": facts.algorithm,
        "trees": f"{facts.trees:,}" if facts.trees else "",
        "trained": facts.trained,
        "run": card.run_id,
        "code": card.tags.get("fds.git_commit", ""),
        "files": card.tags.get("fds.files", ""),
    }
    rows: Sequence[tuple[str, str]] = [(name, value) for name, value in named.items() if value]
    yield Table(("", ""), [*rows, *sorted(facts.params.items())], text=True)
