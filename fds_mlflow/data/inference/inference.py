"""From a file to its schema: look at it once, decide, and see that the loader reads it so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from fds_mlflow.data import readers
from fds_mlflow.data.inference import columns, labels, leakage, reasons, roles, times
from fds_mlflow.data.inference.inferred_schema import InferredSchema
from fds_mlflow.data.inference.labels import Label
from fds_mlflow.data.inference.leakage import Later
from fds_mlflow.data.inference.numbers import style_of
from fds_mlflow.data.inference.reasons import Findings
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


def infer(
    source: str | Path | pd.DataFrame,
    label: str | None = None,
    *,
    labelled: bool = True,
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
        labelled: Whether there is one; without it only an isolation forest can be trained.
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
    found = _find(form, seen, labels.find(seen, label, name) if labelled else None)
    keys = _keys(found, sheet)
    schema, dropped = verified(
        Schema.of(**keys), source, table=table, query=query, progress=lambda s: told(_READ + (1 - _READ) * s)
    )
    why, unknown = reasons.evidence(found, schema, dropped), reasons.unknown(found, schema)
    return InferredSchema(schema, why, unknown, name, seen.rows, seen.sample.num_rows)


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


def _find(form: TextForm, seen: Survey, label: Label | None) -> Findings:
    own = label.column if label is not None else None
    looked = columns.look(seen, meaning=label.frauds | label.genuine if label is not None else frozenset())
    every = times.readings({n: c for n, c in looked.by_name.items() if n != own})
    time = times.choose(every)
    used = time.columns if time is not None else ()
    others = [r for r in every if not set(r.columns) & set(used)]
    later = leakage.find(looked.by_name, label, time, others) if label is not None else Later({})
    taken = {name for name in (own, later.label_known_at, *used, *later.columns) if name is not None}
    assigned = roles.assign(looked.by_name, taken, seen.rows)
    _leave_out_times(assigned, others, taken)
    return Findings(form, seen, looked, label, time, others, later, assigned)


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


def _keys(found: Findings, sheet: str | None) -> dict[str, Any]:
    """The schema's keys."""
    assigned, time, style = found.roles, found.time, found.columns.style
    keys: dict[str, Any] = {"transaction_id": assigned.transaction_id, "time": None, "amount": assigned.amount}
    if time is not None:
        keys |= {"time": time.columns[0] if len(time.columns) == 1 else time.columns, **time.keys}
    keys["entities"] = assigned.entities
    if found.label is not None:
        keys |= {"label": found.label.column, "label_values": found.label.values}
    keys |= {"label_known_at": found.later.label_known_at, "known_later": list(found.later.columns)}
    if found.later.matures is not None:
        keys["labels_mature"] = f"{found.later.matures}d"
    keys |= {"numeric": assigned.numeric, "categorical": assigned.categorical}
    keys["missing"] = sorted({*found.columns.missing, *(found.label.unlabelled if found.label is not None else ())})
    keys |= {"decimal": style.decimal, "thousands": style.thousands, "currency": list(style.currency)}
    return keys | {"separator": found.form.separator, "encoding": found.form.encoding, "sheet": sheet}
