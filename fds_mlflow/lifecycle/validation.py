"""What is asked of a version before traffic goes to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fds_mlflow.errors import FdsError
from fds_mlflow.registry.recorded import shown

if TYPE_CHECKING:
    from fds_mlflow.scoring.scorer import Scorer


@dataclass(frozen=True)
class ValidationCheck:
    """One question asked of a version before it may serve.

    Attributes:
        name: The question.
        passed: Yes, no, or None for a warning.
        detail: One sentence.
        fix: What fixes it, where it failed.
    """

    name: str
    passed: bool | None
    detail: str
    fix: str = ""


def validate(
    load_version: Callable[[int], Scorer], version: int, champion: int | None, *, allow_new_columns: bool = False
) -> list[ValidationCheck]:
    """Ask of a version what must hold before traffic goes to it.

    It loads and is READY, its files are those that were recorded, it scores its input example, and it asks for no
    column that the champion's callers do not send (a champion that does not load any more is a warning, since it is the
    reason to leave it).
    """
    try:
        scorer = load_version(version)
    except FdsError as error:
        return [ValidationCheck("loads", False, error.what, error.fix)]
    checks = [
        ValidationCheck("loads", True, f"READY, artifacts load, threshold {scorer.threshold:.6g}{_files(scorer)}"),
        _scores(scorer),
    ]
    if checks[-1].passed is not False:
        checks.append(_answers(scorer))
    if champion is None or champion == version:
        return checks
    try:
        checks.append(_compatible(scorer, load_version(champion), allow_new_columns))
    except FdsError as error:
        checks.append(
            ValidationCheck("signature fits the champion's", None, f"the champion does not load: {error.what}")
        )
    return checks


def _files(scorer: Scorer) -> str:
    """What is known of its files."""
    if scorer.files is None:
        return ""
    known, found = scorer.files.recorded.digest, shown(scorer.files.digest)
    said = f", files {found} " + ("as recorded" if known is not None else "(no digest is recorded)")
    return said if scorer.files.code is None else f"{said}, runs code of its own ({scorer.files.code})"


def _scores(scorer: Scorer) -> ValidationCheck:
    from fds_mlflow.scoring.contract import checked
    from fds_mlflow.scoring.output import why_labels

    name = "scores its example"
    labels = why_labels(scorer.loaded)
    if labels is not None:
        return _labelled(name, scorer, labels)
    if scorer.example is None:
        return ValidationCheck(name, None, "it was logged without an input example to try")
    try:
        answer = scorer.answer(scorer.example)
        labels = why_labels(scorer.loaded, answer)
        if labels is not None:
            return _labelled(name, scorer, labels)
        scores = checked(scorer.version, answer, len(scorer.example))
    except FdsError as error:
        return ValidationCheck(name, False, error.what, error.fix)
    return ValidationCheck(name, True, f"{len(scores)} rows, scores {scores.min():.4f} to {scores.max():.4f}")


def _labelled(name: str, scorer: Scorer, labels: str) -> ValidationCheck:
    fix = f"have its probabilities taken: `fds adopt MODEL {scorer.version}`; or log a model that answers scores"
    return ValidationCheck(name, False, f"it answers class labels and no scores: {labels}", fix)


def _answers(scorer: Scorer) -> ValidationCheck:
    """Whether a server that is sent the example answers it: what promotion tries is what will be asked."""
    from fds_mlflow.scoring.trial import tried

    name = "answers requests"
    try:
        rows = tried(scorer)
    except FdsError as error:
        return ValidationCheck(name, False, error.what, error.fix)
    if rows is None:
        return ValidationCheck(name, None, "there is no input example to make a request of")
    return ValidationCheck(name, True, f"{rows} rows of its example, sent as JSON")


def _compatible(scorer: Scorer, champion: Scorer, allow_new_columns: bool) -> ValidationCheck:
    name = "signature fits the champion's"
    if not champion.inputs or not scorer.inputs:
        return ValidationCheck(name, None, "one of the two was logged without a signature")
    sent = champion.inputs.keys() - champion.optional  # what callers may leave out, they may not be relied on to send
    new = sorted(column for column in scorer.inputs if column not in sent and column not in scorer.optional)
    types = [
        f"{column} ({champion.inputs[column]} -> {kind})"
        for column, kind in scorer.inputs.items()
        if column in champion.inputs and champion.inputs[column] != kind
    ]
    if types:
        said = f"column types differ from version {champion.version}'s: {', '.join(types)}"
        return ValidationCheck(name, False, said, "register a version whose columns have the champion's types")
    if new:
        said = f"it needs columns that version {champion.version} does not: {', '.join(new)}"
        fix = "if callers send them already, say so: --allow-new-columns, or allow_new_columns=True in Python"
        return ValidationCheck(name, None, said) if allow_new_columns else ValidationCheck(name, False, said, fix)
    return ValidationCheck(name, True, f"{len(scorer.inputs)} columns, as version {champion.version} takes them")
