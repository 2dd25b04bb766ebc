"""What was found, why, and what could not be: in words."""

from __future__ import annotations

from dataclasses import dataclass

from fds_mlflow.data.inference import names
from fds_mlflow.data.inference.columns import Columns
from fds_mlflow.data.inference.inferred_schema import Evidence
from fds_mlflow.data.inference.labels import Label
from fds_mlflow.data.inference.leakage import Later
from fds_mlflow.data.inference.roles import Roles
from fds_mlflow.data.inference.survey import Survey
from fds_mlflow.data.inference.text_form import TextForm
from fds_mlflow.data.inference.times import Reading
from fds_mlflow.data.schema import Schema


@dataclass(frozen=True)
class Findings:
    """What each question was answered with.

    Attributes:
        form: How a text file is written.
        survey: What is known over all rows.
        columns: What the values of each column are.
        label: The label; None where there is to be none.
        time: How the time of the transaction is read; None where nothing reads as one.
        others: Further times.
        later: What is known later.
        roles: The role of each other column.
    """

    form: TextForm
    survey: Survey
    columns: Columns
    label: Label | None
    time: Reading | None
    others: list[Reading]
    later: Later
    roles: Roles


def evidence(found: Findings, schema: Schema, dropped: dict[str, str]) -> tuple[Evidence, ...]:
    """Why each key is what it is, for those that the loader has confirmed."""
    assigned, later = found.roles, found.later
    said = [
        Evidence(
            "transaction_id",
            None,
            _or_none(
                assigned, schema.transaction_id, "no column has another value in each row, so the rows are numbered"
            ),
        ),
        Evidence("time", None, _time_reason(found, schema)),
        Evidence("amount", None, _or_none(assigned, schema.amount, "no column without gaps is named like an amount")),
        Evidence("label", None, found.label.reason if found.label is not None else ""),
    ]
    if schema.label_known_at is not None:
        said.append(Evidence("label_known_at", None, later.reason))
    if schema.labels_mature is not None:
        said.append(
            Evidence("labels_mature", None, "the longest delay of a label; silence for so long counts as genuine")
        )
    said += [Evidence("entities", c, assigned.reasons[c]) for c in schema.entities.values()]
    said += [Evidence("known_later", c, later.columns.get(c) or dropped[c]) for c in schema.known_later]
    said += [Evidence("numeric", c, assigned.reasons[c]) for c in schema.numeric]
    said += [Evidence("categorical", c, assigned.reasons.get(c) or "an entity too") for c in schema.categorical]
    if schema.missing:
        unlabelled = found.label.unlabelled if found.label is not None else ()
        more = f"; {', '.join(map(repr, unlabelled))} in the label" if unlabelled else ""
        said.append(Evidence("missing", None, f"{found.columns.missing_reason}{more}".removeprefix("; ")))
    keys = ("decimal", "thousands", "currency")
    said += [
        Evidence(k, None, found.columns.style_reason)
        for k in keys
        if getattr(schema, k) != Schema.model_fields[k].get_default(call_default_factory=True)
    ]
    said.append(Evidence("separator", None, found.form.separator_reason))
    said.append(Evidence("encoding", None, found.form.encoding_reason))
    used = {*schema.columns(), *schema.known_later}
    left = {column: reason for column, reason in (assigned.left_out | dropped).items() if column not in used}
    said += [Evidence("left_out", column, reason) for column, reason in left.items()]
    return tuple(item for item in said if item.reason)


def _or_none(assigned: Roles, column: str | None, otherwise: str) -> str:
    return otherwise if column is None else assigned.reasons.get(column, "")


def _time_reason(found: Findings, schema: Schema) -> str:
    if found.time is None or schema.time is None:
        gaps = [f"{item.name} has gaps" for item in found.others if item.missing and item.absolute]
        more = f" ({', '.join(gaps)})" if gaps else ""
        return f"no column reads as the time of the transaction in every row{more}: no windows, and no split by time"
    rivals = [item.name for item in found.others if item.absolute]
    more = f". {', '.join(rivals)} {'is a further time' if len(rivals) == 1 else 'are further times'}" if rivals else ""
    return f"{found.time.reason}{more}"


def unknown(found: Findings, schema: Schema) -> tuple[str, ...]:
    """What the file cannot tell, and what it would change."""
    said = list(found.label.doubts) if found.label is not None else ["which transactions are frauds"]
    if schema.time is None:
        texts = [n for n, c in found.columns.by_name.items() if c.moments is None and c.numbers is None]
        named = [n for n in texts if names.has(n, names.TIME)]
        said += [f"when transactions took place: {n!r} is a time by its name, and does not read as one" for n in named]
        said += [
            f"when {item.missing:,} of {len(item.moments):,} rows of the sample took place: {item.name} is empty there;"
            " fill them in, or leave those rows out, and name it under time"
            for item in found.others
            if item.missing and item.absolute and not names.has(item.name, names.OTHER_TIME | names.CASE)
        ]
    if found.time is not None and schema.time is not None:
        said += found.time.doubts
        if not found.time.offsets and found.time.absolute and schema.time_unit is None:
            said.append("the time zone: the times carry no offset and are read as UTC; set time_zone if they are local")
    if schema.label is not None and schema.time is not None and schema.label_known_at is None:
        said.append(
            "when a label became known: without label_known_at or label_delay (such as 30d) no feature may use the"
            " labels of earlier transactions"
        )
    if schema.labels_mature is not None:
        said.append(
            f"after what time silence means genuine: {schema.labels_mature} is the longest delay in the file; set"
            " labels_mature to what your process promises"
        )
    if schema.amount is not None and not schema.currency:
        said.append(f"the currency and unit of {schema.amount!r}: it is taken as it is")
    said.append(
        "whether each column is known at the time of its transaction: what is filled in or updated later belongs into"
        " known_later"
    )
    return tuple(said)
