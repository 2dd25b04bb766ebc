"""From a file to its schema: look at it once, decide, and see that the loader reads it so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from fds_mlflow.data import readers
from fds_mlflow.data.inference import columns, labels, leakage, names, roles, times
from fds_mlflow.data.inference.columns import Columns
from fds_mlflow.data.inference.inferred_schema import Evidence, InferredSchema
from fds_mlflow.data.inference.labels import Label
from fds_mlflow.data.inference.leakage import Later
from fds_mlflow.data.inference.numbers import style_of
from fds_mlflow.data.inference.roles import Roles
from fds_mlflow.data.inference.survey import Survey, survey
from fds_mlflow.data.inference.text_form import TextForm, text_form
from fds_mlflow.data.inference.times import Reading
from fds_mlflow.data.inference.verification import verified
from fds_mlflow.data.schema import Schema
from fds_mlflow.errors import DataError
from fds_mlflow.runtime.text_file import WORKBOOK_SUFFIXES, is_parquet

_READ = 0.5
"""Share of the work that the first of the two passes is."""


@dataclass(frozen=True)
class _Findings:
    """What each question was answered with."""

    form: TextForm
    survey: Survey
    columns: Columns
    label: Label
    time: Reading | None
    others: list[Reading]
    later: Later
    roles: Roles


def infer(
    source: str | Path | pd.DataFrame,
    label: str | None = None,
    *,
    table: str | None = None,
    query: str | None = None,
    sheet: str | None = None,
    progress: Callable[[float], None] | None = None,
) -> InferredSchema:
    """Infer the schema of transactions: which column plays which role, and how its values are written.

    The source is read twice, a stretch of rows at a time: once to look, once to see that the schema reads it.

    Args:
        source: A file, a folder of files, a DataFrame or a SQLAlchemy URL.
        label: The column that tells the frauds; None where exactly one is plausible.
        table: For a URL: the table.
        query: For a URL: a query instead.
        sheet: Of a workbook; its first where None.
        progress: Is told the share of the work that is done, from 0 to 1.

    Returns:
        A schema that reads the source, with the evidence and what the source cannot tell.

    Raises:
        ConfigError: There is no such label, or it was not named and not exactly one column is plausible.
        DataError: The source cannot be read, has no rows, or the label is none.
    """
    name = readers.describe(source, table, query)
    form = _form(source)
    told = progress or _untold
    options: dict[str, Any] = {"separator": form.separator, "encoding": form.encoding, "sheet": sheet}
    seen = survey(readers.every_column(source, table=table, query=query, progress=lambda s: told(_READ * s), **options))
    if not seen.rows:
        raise DataError(f"{name} has no rows", fix="check the file, the table or the query's condition")
    _require_names(seen, name)
    found = _find(form, seen, label, name)
    keys = _keys(found, sheet)
    schema, dropped = verified(
        Schema.of(**keys), source, table=table, query=query, progress=lambda s: told(_READ + (1 - _READ) * s)
    )
    evidence = _evidence(found, schema, dropped)
    return InferredSchema(schema, evidence, _unknown(found, schema), name, seen.rows, seen.sample.num_rows)


def _require_names(seen: Survey, name: str) -> None:
    """See that the first line holds names, and not the first row.

    Raises:
        DataError: All of the names are numbers, and not those that pandas gives columns without a name.
    """
    names = list(seen.columns)
    numbered = names == [str(number) for number in range(len(names))]
    if len(names) > 1 and not numbered and all(style_of([name]) is not None for name in names if name.strip()):
        raise DataError(
            f"the first line of {name} holds values, not names: {', '.join(map(repr, names[:6]))}",
            fix="give the file a first line with the names of its columns",
        )


def _untold(_: float) -> None:
    """Nobody asks how far the work is."""


def _form(source: str | Path | pd.DataFrame) -> TextForm:
    """How the file is written, or the first one of a folder, if it is one of text."""
    if isinstance(source, pd.DataFrame) or readers.is_url(source):
        return TextForm()
    path = Path(source)
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith((".", "_")))
        path = files[0] if files else path
    if not path.is_file() or path.name.lower().endswith(WORKBOOK_SUFFIXES) or is_parquet(path):
        return TextForm()
    return text_form(path)


def _find(form: TextForm, seen: Survey, given: str | None, name: str) -> _Findings:
    label = labels.find(seen, given, name)
    looked = columns.look(seen, label=label.column)
    every = times.readings({n: c for n, c in looked.by_name.items() if n != label.column})
    time = times.choose(every)
    others = [r for r in every if time is None or not set(r.columns) & set(time.columns)]
    later = leakage.find(looked.by_name, label, time, others)
    used = time.columns if time is not None else ()
    taken = {label.column, *used, *later.columns, *([later.label_known_at] if later.label_known_at else [])}
    assigned = roles.assign(looked.by_name, taken, seen.rows)
    _leave_out_times(assigned, others, taken)
    return _Findings(form, seen, looked, label, time, others, later, assigned)


def _leave_out_times(assigned: Roles, others: list[Reading], taken: set[str]) -> None:
    """Further times are no features: a date is a category for each day, and seconds since 1970 tell the split."""
    for item in others:
        name = item.columns[0]
        if len(item.columns) > 1 or name in taken:
            continue
        if name in assigned.entities.values() or name == assigned.transaction_id:
            continue
        for listed in (assigned.numeric, assigned.categorical):
            if name in listed:
                listed.remove(name)
        assigned.left_out[name] = f"a further time: the schema takes one; {item.reason}"


def _keys(found: _Findings, sheet: str | None) -> dict[str, Any]:
    """The schema's keys."""
    assigned, time, style = found.roles, found.time, found.columns.style
    keys: dict[str, Any] = {"transaction_id": assigned.transaction_id, "time": None, "amount": assigned.amount}
    if time is not None:
        keys |= {"time": time.columns[0] if len(time.columns) == 1 else time.columns, **time.keys}
    keys |= {"entities": assigned.entities, "label": found.label.column, "label_values": found.label.values}
    keys |= {"label_known_at": found.later.label_known_at, "known_later": list(found.later.columns)}
    if found.later.matures is not None:
        keys["labels_mature"] = f"{found.later.matures}d"
    keys |= {"numeric": assigned.numeric, "categorical": assigned.categorical}
    keys["missing"] = sorted({*found.columns.missing, *found.label.unlabelled})
    keys |= {"decimal": style.decimal, "thousands": style.thousands, "currency": list(style.currency)}
    return keys | {"separator": found.form.separator, "encoding": found.form.encoding, "sheet": sheet}


def _evidence(found: _Findings, schema: Schema, dropped: dict[str, str]) -> tuple[Evidence, ...]:
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
        Evidence("label", None, found.label.reason),
    ]
    if schema.label_known_at is not None:
        said.append(Evidence("label_known_at", None, later.reason))
    if schema.labels_mature is not None:
        said.append(
            Evidence("labels_mature", None, "the longest delay of a label; silence for so long counts as genuine")
        )
    said += [Evidence("entities", c, assigned.reasons[c]) for c in schema.entities.values()]
    said += [Evidence("known_later", c, later.columns[c]) for c in schema.known_later if c in later.columns]
    said += [Evidence("numeric", c, assigned.reasons[c]) for c in schema.numeric]
    said += [Evidence("categorical", c, assigned.reasons.get(c) or "an entity too") for c in schema.categorical]
    if schema.missing:
        more = f"; {', '.join(map(repr, found.label.unlabelled))} in the label" if found.label.unlabelled else ""
        said.append(Evidence("missing", None, f"{found.columns.missing_reason}{more}".removeprefix("; ")))
    keys = ("decimal", "thousands", "currency")
    said += [
        Evidence(k, None, found.columns.style_reason)
        for k in keys
        if getattr(schema, k) != Schema.model_fields[k].get_default(call_default_factory=True)
    ]
    said.append(Evidence("separator", None, found.form.separator_reason))
    said.append(Evidence("encoding", None, found.form.encoding_reason))
    left = assigned.left_out | dropped
    said += [Evidence("left_out", column, reason) for column, reason in left.items()]
    used = set(schema.columns()) | set(schema.known_later) | set(left)
    rest = [n for n in found.columns.by_name if n not in used]
    said += [
        Evidence(
            "left_out", n, "the loader refused its role" if n in dropped else "it tells the same as another column"
        )
        for n in rest
    ]
    return tuple(item for item in said if item.reason)


def _or_none(assigned: Roles, column: str | None, otherwise: str) -> str:
    return otherwise if column is None else assigned.reasons.get(column, "")


def _time_reason(found: _Findings, schema: Schema) -> str:
    if found.time is None or schema.time is None:
        return "no column reads as the time of the transaction in every row: no windows, and no split by time"
    rivals = [item.name for item in found.others if item.absolute]
    more = f". {', '.join(rivals)} {'is a further time' if len(rivals) == 1 else 'are further times'}" if rivals else ""
    return f"{found.time.reason}{more}"


def _unknown(found: _Findings, schema: Schema) -> tuple[str, ...]:
    """What the file cannot tell, and what it would change."""
    said = list(found.label.doubts)
    if schema.time is None:
        texts = [n for n, c in found.columns.by_name.items() if c.moments is None and c.numbers is None]
        named = [n for n in texts if names.has(n, names.TIME)]
        said += [f"when transactions took place: {n!r} is a time by its name, and does not read as one" for n in named]
    if found.time is not None and schema.time is not None:
        said += found.time.doubts
        if not found.time.offsets and found.time.absolute and schema.time_unit is None:
            said.append("the time zone: the times carry no offset and are read as UTC; set time_zone if they are local")
    if schema.time is not None and schema.label_known_at is None:
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
