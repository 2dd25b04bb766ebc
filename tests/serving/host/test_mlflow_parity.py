"""The same requests to `mlflow models serve` and to `fds serve`: the same answers, but for the table in the docs."""

from __future__ import annotations

import asyncio
import io
import json
import math
import re
import shutil
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.models import ModelSignature
from mlflow.pyfunc import scoring_server
from mlflow.types.schema import Array, ColSpec, DataType, Object, Property, Schema, TensorSpec

from fds_mlflow.core.routing.routing import RoutingTable
from fds_mlflow.scoring.scorer import Scorer
from fds_mlflow.scoring.served import Served, Table
from fds_mlflow.serving.disk.version_cache import describe, model_folder
from fds_mlflow.serving.http.app import App
from fds_mlflow.serving.worker.settings import ServerSettings
from tests.support.effort import graded
from tests.support.places import ROOT
from tests.support.version_caches import NOW, table

PAGE = ROOT / "docs" / "serving.md"

_CODE = '''
import zlib
import mlflow
import numpy as np
import pandas as pd


def shown(value):
    """A value whatever type carries it; every difference that a model could see is in it."""
    if isinstance(value, np.ndarray) and value.ndim:
        return str([shown(one) for one in value.tolist()])
    if isinstance(value, (list, tuple)):
        return str([shown(one) for one in value])
    if isinstance(value, dict):
        return str(sorted((key, shown(one)) for key, one in value.items()))
    if value is None or value is pd.NaT or value != value:
        return "missing"
    if isinstance(value, np.ndarray):
        return shown(value.item())
    return repr(value.item() if isinstance(value, np.generic) else value)


class Told(mlflow.pyfunc.PythonModel):
    """Its score is a digest of all that it is given."""

    def predict(self, context, model_input, params=None):
        if isinstance(model_input, pd.DataFrame):
            names = [str(name) for name in model_input.columns]
            rows = [dict(zip(names, row)) for row in model_input.itertuples(index=False)]
        elif isinstance(model_input, dict):
            rows = [dict(zip(model_input, row)) for row in zip(*model_input.values())]
        else:
            rows = list(np.atleast_1d(model_input))
        return [zlib.crc32(shown(row).encode()) / 2**32 for row in rows]


mlflow.models.set_model(Told())
'''


class Told:
    """A model whose score is a digest of all that it is given."""

    @staticmethod
    def write(path: Path) -> Path:
        """Its code, for MLflow to log."""
        path.write_text(_CODE)
        return path


PLAIN = {
    "amount": DataType.double,
    "ratio": DataType.float,
    "count": DataType.long,
    "hour": DataType.integer,
    "foreign": DataType.boolean,
    "channel": DataType.string,
}
NESTED = {
    "amount": DataType.double,
    "at": DataType.datetime,
    "photo": DataType.binary,
    "last": Array(DataType.double),
    "device": Object([Property("kind", DataType.string), Property("age", DataType.long)]),
}


def columns(kinds: dict[str, Any], **optional: Any) -> ModelSignature:
    """A signature of named columns."""
    given = [ColSpec(kind, name) for name, kind in kinds.items()]
    return ModelSignature(inputs=Schema([*given, *(ColSpec(kind, n, required=False) for n, kind in optional.items())]))


SIGNATURES = {
    "plain": columns(PLAIN, age=DataType.double, visits=DataType.long, country=DataType.string),
    "nested": columns(NESTED),
    "one column": columns({"amount": DataType.double}),
    "whole names": ModelSignature(inputs=Schema([ColSpec(DataType.double, 0), ColSpec(DataType.double, 1)])),  # type: ignore[arg-type]
    "tensor": ModelSignature(inputs=Schema([TensorSpec(np.dtype(np.float64), (-1, 3))])),
    "named tensors": ModelSignature(inputs=Schema([TensorSpec(np.dtype(np.float64), (-1, 2), "x")])),
    "no signature": None,
}


@dataclass(frozen=True)
class Answer:
    """What a server said."""

    status: int
    scores: list[Any] | None
    text: str


class Both:
    """MLflow's server and ours, on one model."""

    def __init__(self, folder: Path, signature: ModelSignature | None) -> None:
        code = Told.write(folder / "told.py")
        mlflow.pyfunc.save_model(folder / "model", python_model=str(code), signature=signature, pip_requirements=[])
        loaded = mlflow.pyfunc.load_model(str(folder / "model"))
        try:
            server = scoring_server.init(loaded)
        except AttributeError as error:  # that of MLflow 3.10, which takes Starlette 1 and cannot start beside it
            pytest.skip(f"MLflow {mlflow.__version__} cannot serve here: {error}")
        self.theirs = httpx.ASGITransport(server, raise_app_exceptions=False)
        settings = ServerSettings("fraud", "memory:", folder / "cache", record=False)
        cache = settings.version_cache()
        given = Scorer.of(1, 0.5, loaded, str(folder / "model"))
        with cache.preparing(1, "one") as place:
            shutil.copytree(folder / "model", model_folder(place))
            describe(place, given.inputs, compiled=False, optional=given.optional)
        cache.write_table(Table(RoutingTable(1), (Served(1, "one", 0.5),), NOW))
        self.app = App(settings)
        self.app.worker.follow()
        assert self.app.worker.serving is not None, self.app.worker.problem

    def ask(self, sent: list[tuple[bytes, str]]) -> list[tuple[Answer, Answer]]:
        """What both say to each request."""

        async def asked() -> list[tuple[Answer, Answer]]:
            async with (
                httpx.AsyncClient(transport=self.theirs, base_url="http://mlflow") as theirs,
                httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://fds") as ours,
            ):
                return [(await _posted(ours, *one), await _posted(theirs, *one)) for one in sent]

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return asyncio.run(asked())


async def _posted(client: httpx.AsyncClient, body: bytes, kind: str) -> Answer:
    answer = await client.post("/invocations", content=body, headers={"content-type": kind})
    scores = answer.json()["predictions"] if answer.status_code == 200 else None
    return Answer(answer.status_code, scores, answer.text)


# --- generated requests -------------------------------------------------------------------------------------

FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
CSV, PARQUET, JSON = "text/csv", "application/vnd.apache.parquet", "application/json"

GOOD: dict[str, list[Any]] = {
    "double": [0.0, 12.5, -3, 1e300, 7, 123456789012345678901234567890],
    "float": [0.25, 1e-3, 7],
    "long": [0, 7, -12, 9007199254740993, 2**63 - 1],
    "integer": [0, 23, -(2**31)],
    "boolean": [True, False],
    "string": ["web", "shop", "", "käse", "NA", "null"],
    "datetime": ["2026-03-01", "2026-03-01T12:00:00", "2026-03-01 12:00:00.25"],
    "binary": ["YWJj", "aGVsbG8="],
}
ODD: dict[str, list[Any]] = {
    "double": [None, float("nan"), float("inf"), "12.5", " 7 ", "x", "", True, [1], {"a": 1}, "NA", "1_0"],
    "float": [None, "0.5", float("-inf"), 1e39, False, "much"],
    "long": [None, 7.0, 7.5, "7", "7.0", 2**63, True, "x", 1e19, float("nan"), "9007199254740993"],
    "integer": [None, 3_000_000_000, -3_000_000_000, 7.5, "7", True, "x", 5.0],
    "boolean": [None, 1, 0, 2, 1.0, 0.5, "true", "false", "", "1"],
    "string": [None, 1, 1.5, True, [1], {"a": 1}],
    "datetime": [None, "x", "2026-03-01T12:00:00Z", 1_767_225_600],
    "binary": [None, "x", 1],
}


@dataclass(frozen=True)
class Request:
    """A generated request, and the rows it was written from."""

    form: str
    names: list[Any]
    rows: list[list[Any]]
    kinds: dict[Any, str]
    body: bytes
    kind: str
    listed: bool = False

    def cells(self, *kinds: str) -> list[Any]:
        """The values in columns of these types."""
        places = [place for place, name in enumerate(self.names) if self.kinds.get(name) in kinds]
        return [row[place] for row in self.rows for place in places if place < len(row)]


class Generator:
    """Requests at random, the same ones each time."""

    def __init__(self, name: str, seed: int = 0) -> None:
        self.name = name
        self.random = np.random.default_rng(seed)
        signature = SIGNATURES[name]
        schema = signature.inputs if signature is not None else None
        named = schema is not None and not schema.is_tensor_spec()
        self.specs = list(schema.inputs) if named else [ColSpec(kind, n) for n, kind in PLAIN.items()]
        self.kinds = {one.name: str(getattr(one.type, "name", one.type)) for one in self.specs}

    def any(self, values: list[Any]) -> Any:
        """One of these."""
        return values[int(self.random.integers(len(values)))]

    def chance(self, share: float) -> bool:
        """Whether something happens that happens so often."""
        return bool(self.random.random() < share)

    def value(self, kind: Any, odd: float) -> Any:
        """A value of a type, now and then an odd one."""
        if isinstance(kind, Array):
            return [self.value(kind.dtype, 0) for _ in range(3)]
        if isinstance(kind, Object):
            return {one.name: self.value(one.dtype, 0) for one in kind.properties}
        return self.any(ODD[kind.name] if self.chance(odd) else GOOD[kind.name])

    def request(self, form: str) -> Request:
        """A request in a form: columns left out, added and shuffled, now and then an odd value."""
        odd = 0.5 * self.chance(0.6) / len(self.specs)
        types = {one.name: one.type for one in self.specs}
        names = [one.name for one in self.specs if one.required or self.chance(0.6)]
        if self.chance(0.1) and len(names) > 1:
            names.pop(int(self.random.integers(len(names))))
        if self.chance(0.3):
            self.random.shuffle(names)
        rows = [[self.value(types[name], odd) for name in names] for _ in range(int(self.random.integers(1, 4)))]
        if self.chance(0.1):
            names, rows = [*names, "extra"], [[*row, "more"] for row in rows]
        if self.name in ("tensor", "named tensors"):
            rows, names = [[float(one) for one in self.random.integers(0, 9, 3)] for _ in rows], []
        if form in (CSV, PARQUET):
            return Request(form, names, rows, self.kinds, _table(form, pd.DataFrame(rows, columns=names or None)), form)
        value = self.written(form, names, rows)
        body = (b"\xef\xbb\xbf" if self.chance(0.05) else b"") + json.dumps({form: value}).encode()
        body = body.replace(b"1e+300", b"1e400")
        return Request(
            form, names, rows, self.kinds, body, JSON, isinstance(value, list) and isinstance(value[0], list)
        )

    def written(self, form: str, names: list[Any], rows: list[list[Any]]) -> Any:
        """The rows in one of JSON's forms."""
        if not names:
            return rows if self.name == "tensor" else {"x": [row[:2] for row in rows]}
        if form == "dataframe_split":
            return {"columns": names, "data": rows} | ({"index": list(range(len(rows)))} if len(rows) == 2 else {})
        if form == "inputs" and self.chance(0.5):
            return {name: [row[place] for row in rows] for place, name in enumerate(names)}
        if form == "inputs" and len(rows) == 1 and self.chance(0.3):
            return dict(zip(names, rows[0], strict=True))
        if form in ("inputs", "instances") and len(names) == 1 and self.chance(0.5):
            return [row[0] for row in rows]
        return [dict(zip(map(str, names), row, strict=True)) for row in rows]


def _table(form: str, frame: pd.DataFrame) -> bytes:
    if form == CSV:
        return frame.to_csv(index=False).encode()
    held = io.BytesIO()
    try:
        frame.rename(columns=str).to_parquet(held)
    except Exception:  # values of several types in one column
        frame.rename(columns=str).astype(str).to_parquet(held)
    return held.getvalue()


# --- the table ----------------------------------------------------------------------------------------------


def _no_boolean(value: Any) -> bool:
    return isinstance(value, str) or value is None or value not in (0, 1)


def _cut_off(value: Any) -> bool:
    return isinstance(value, (int, float)) and not (math.isfinite(value) and value == int(value) and abs(value) < 2**31)


def _no_text(value: Any) -> bool:
    return value is not None and not isinstance(value, str)


REFUSED: dict[str, Callable[[Request], bool]] = {
    "a boolean column has a gap, or anything but true, false, 1 and 0": lambda r: any(
        map(_no_boolean, r.cells("boolean"))
    ),
    "a whole-number column has a fraction, or a number out of range": lambda r: any(
        map(_cut_off, r.cells("long", "integer"))
    ),
    "a text column has a number, a boolean, a list or an object": lambda r: any(map(_no_text, r.cells("string"))),
    "a column of numbers says true or false in CSV": lambda r: (
        r.kind == CSV and any(isinstance(one, bool) for one in r.cells("long", "integer", "double", "float"))
    ),
    "a number in quotes has an underscore": lambda r: "1_0" in r.cells("double"),
}
"""What MLflow's server scores and ours refuses, by the words of the page."""

TAKEN: dict[str, Callable[[Request], bool]] = {
    "columns that are named by whole numbers are named by text": lambda r: 0 in r.kinds,
    "`inputs` is one row as an object, with a column that the model does not have": lambda r: (
        r.form == "inputs" and "extra" in r.names
    ),
    "rows are lists in the order of the signature": lambda r: r.listed,
    "a Parquet column is of another type, and loses nothing": lambda r: r.kind == PARQUET,
    "a boolean column of CSV has both words and numbers": lambda r: r.kind == CSV and bool(r.cells("boolean")),
    "a whole number in quotes is written 7.0": lambda r: "7.0" in r.cells("long"),
}
"""What MLflow's server refuses and ours scores."""

OTHERWISE: dict[str, Callable[[Request], bool]] = {
    "a text column of `instances` or `inputs` has a gap": lambda r: None in r.cells("string"),
    "a whole number beyond 2^53 stands in a column with a gap or a fraction": lambda r: any(
        isinstance(one, int) and abs(one) > 2**53 for one in r.cells("long", "double")
    ),
}
"""What both score, and not alike."""


def difference(request: Request, ours: Answer, theirs: Answer) -> str | None:
    """Why the answers differ, in the words of the page; None where they do not."""
    if ours.status == theirs.status == 200:
        if ours.scores == theirs.scores:
            return None
        reasons = OTHERWISE
    elif ours.status == 200:
        reasons = TAKEN
    elif theirs.status == 200:
        reasons = REFUSED
    else:
        return None
    found = [name for name, holds in reasons.items() if holds(request)]
    assert found, f"{request.body!r}: {ours.status} {ours.text}, and {theirs.status} {theirs.text[-300:]}"
    return found[0]


def documented() -> set[str]:
    """The first column of the page's table."""
    section = PAGE.read_text(encoding="utf-8").split("### Where the answers differ")[1].split("\n## ")[0]
    return {match[1].strip() for match in re.finditer(r"^\| ([^|]+) \|", section, re.MULTILINE)}


@pytest.mark.campaign
@pytest.mark.parametrize("name", graded(SIGNATURES, quick=0))
def test_generated_requests_are_answered_as_mlflows_server_answers_them(tmp_path: Path, name: str) -> None:
    """In every form, over columns of every type: the same scores, the same refusals, the page's differences, no 503."""
    both, maker = Both(tmp_path, SIGNATURES[name]), Generator(name)
    sent = [maker.request(form) for form in (*FORMS, CSV, PARQUET) for _ in range(20)]
    found: Counter[str] = Counter()
    agreed = 0
    for request, (ours, theirs) in zip(sent, both.ask([(one.body, one.kind) for one in sent]), strict=True):
        assert ours.status in (200, 400), f"{request.body!r}: {ours.status} {ours.text}"
        why = difference(request, ours, theirs)
        agreed += why is None and ours.status == 200
        found[why or "none"] += 1
    assert agreed >= 10, found
    assert found.keys() - {"none"} <= documented()


def test_every_difference_is_on_the_page() -> None:
    """The page lists what the generated requests may differ in, in the same words."""
    assert REFUSED.keys() | TAKEN.keys() | OTHERWISE.keys() <= documented()
    assert {name for name, *_ in CASES} <= documented() | {"the same"}


# --- one by one ---------------------------------------------------------------------------------------------

_ROW = {"amount": 1.5, "ratio": 0.5, "count": 3, "hour": 4, "foreign": True, "channel": "web"}
_SPLIT = {"columns": list(_ROW), "data": [list(_ROW.values())]}
_LINE = "amount,ratio,count,hour,foreign,channel\n1.5,0.5,3,4,true,web\n"


def _json(**body: Any) -> bytes:
    return json.dumps(body).encode()


CASES: list[tuple[str, bytes, str, int, int]] = [
    ("the same", _json(dataframe_split=_SPLIT), JSON, 200, 200),
    ("the same", _json(dataframe_split=_SPLIT), "application/json; charset=UTF-8", 200, 200),
    ("the same", _json(dataframe_split=_SPLIT), "application/json; charset=latin-1", 415, 415),
    ("the same", _LINE.encode("utf-16"), "text/csv; charset=utf-16", 415, 415),
    ("the same", _json(dataframe_split={**_SPLIT, "more": 1}), JSON, 400, 400),
    ("the same", _json(dataframe_split={**_SPLIT, "columns": [*_ROW, "amount"]}), JSON, 400, 400),
    ("the same", _json(dataframe_records=[_ROW, 5]), JSON, 400, 400),
    ("the same", _json(inputs=5), JSON, 400, 400),
    ("the same", _json(inputs=[_ROW], instances=[_ROW]), JSON, 400, 400),
    ("the same", b"[1]", JSON, 400, 400),
    ("the same", b"{", JSON, 400, 400),
    ("the same", _LINE.encode(), "text/csv", 200, 200),
    ("the same", ("\ufeff" + _LINE).encode(), "text/csv", 200, 200),
    ("the same", _LINE.replace("web", "NA").encode(), "text/csv", 200, 200),
    ("the same", _LINE.replace("1.5", "null").encode(), "text/csv", 200, 200),
    ("the same", _LINE.replace("3", "").encode(), "text/csv", 400, 400),
    ("the same", b"PAR1 and no more", PARQUET, 400, 400),
    ("the `index` has another length than `data`", _json(dataframe_split={**_SPLIT, "index": [0, 1]}), JSON, 400, 200),
    (
        "a row lacks a column that the model requires, and others have it",
        _json(dataframe_records=[_ROW, {name: value for name, value in _ROW.items() if name != "amount"}]),
        JSON,
        400,
        200,
    ),
    ("there are no rows", _json(dataframe_split={**_SPLIT, "data": []}), JSON, 400, 200),
    ("there are `params`", _json(dataframe_split=_SPLIT, params={"a": 1}), JSON, 400, 200),
    ("the same", _LINE.replace("web", '"web').encode(), "text/csv", 400, 400),
    ("the same", _LINE.replace("web", "web,1").encode(), "text/csv", 400, 400),
    (
        "CSV has a row of other length, or a column twice",
        (_LINE + "2.5,0.5,3,4,true\n").encode(),
        "text/csv",
        400,
        200,
    ),
    (
        "CSV has a row of other length, or a column twice",
        b"amount," + _LINE.replace("\n1.5", "\n9,1.5").encode(),
        "text/csv",
        400,
        200,
    ),
    ("the content type has other parameters than a charset", _LINE.encode(), "text/csv; header=present", 200, 415),
]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Both:
    """Both servers on a model with columns of all plain types."""
    return Both(tmp_path_factory.mktemp("plain"), SIGNATURES["plain"])


@pytest.mark.parametrize("case", CASES, ids=[f"{number}-{case[0][:40]}" for number, case in enumerate(CASES)])
def test_a_request_is_answered_as_the_page_says(plain: Both, case: tuple[str, bytes, str, int, int]) -> None:
    """Each difference that no generated request shows, and what is no difference, on both servers."""
    _, body, kind, ours_status, theirs_status = case
    ((ours, theirs),) = plain.ask([(body, kind)])
    assert (ours.status, theirs.status) == (ours_status, theirs_status), (ours.text, theirs.text[-500:])
    assert ours_status != theirs_status or ours.scores == theirs.scores


def test_a_column_left_out_is_not_a_column_without_a_value(plain: Both) -> None:
    """A model that looks whether an optional column is there is told, and scores what is absent as MLflow has it."""
    absent, null = _json(dataframe_records=[_ROW]), _json(dataframe_records=[{**_ROW, "age": None}])
    (first, theirs), (second, others) = plain.ask([(absent, JSON), (null, JSON)])
    assert (first.scores, second.scores) == (theirs.scores, others.scores)
    assert first.scores != second.scores


# --- a canary beside it --------------------------------------------------------------------------------------

CANARIES = {
    "no signature": None,
    "nested": SIGNATURES["nested"],
    "a date more": columns(PLAIN, at=DataType.datetime),
    "columns more": columns(PLAIN | {"new": DataType.long}, age=DataType.long),
    "an optional column required": columns(PLAIN | {"age": DataType.double}),
}


def _app(folder: Path, versions: dict[int, ModelSignature | None], weight: int | None) -> App:
    """A server of these versions: 1 is the champion, 2 the canary."""
    settings = ServerSettings("fraud", "memory:", folder / "cache", record=False)
    cache = settings.version_cache()
    for number, signature in versions.items():
        source = folder / f"model{number}"
        code = Told.write(folder / f"told{number}.py")
        mlflow.pyfunc.save_model(source, python_model=str(code), signature=signature, pip_requirements=[])
        given = Scorer.of(number, 0.5, mlflow.pyfunc.load_model(str(source)), str(source))
        with cache.preparing(number, f"identity{number}") as place:
            shutil.copytree(source, model_folder(place))
            describe(place, given.inputs, compiled=False, optional=given.optional)
    cache.write_table(table(weight=weight))
    app = App(settings)
    app.worker.follow()
    assert app.worker.problem is None
    return app


@pytest.mark.tested(3)
@pytest.mark.parametrize("champion", graded(["plain", "no signature"]))
@pytest.mark.parametrize("canary", graded(CANARIES))
@pytest.mark.slow
def test_a_canary_changes_nothing_for_who_asks_the_champion(tmp_path: Path, champion: str, canary: str) -> None:
    """Whatever the canary's signature, the champion's callers get the scores and refusals that they got without it."""
    (tmp_path / "alone").mkdir()
    (tmp_path / "beside").mkdir()
    alone = _app(tmp_path / "alone", {1: SIGNATURES[champion]}, None)
    beside = _app(tmp_path / "beside", {1: SIGNATURES[champion], 2: CANARIES[canary]}, 0)
    maker = Generator("plain")
    sent = [maker.request(form) for form in (*FORMS, CSV, PARQUET) for _ in range(8)]

    async def asked() -> list[tuple[Answer, Answer]]:
        async with (
            httpx.AsyncClient(transport=httpx.ASGITransport(alone), base_url="http://fds") as one,
            httpx.AsyncClient(transport=httpx.ASGITransport(beside), base_url="http://fds") as other,
        ):
            return [
                (await _posted(one, each.body, each.kind), await _posted(other, each.body, each.kind)) for each in sent
            ]

    for request, (one, other) in zip(sent, asyncio.run(asked()), strict=True):
        assert (one.status, one.scores) == (other.status, other.scores), f"{request.body!r}: {one.text} {other.text}"


@pytest.mark.parametrize("champion", graded(["plain", "no signature"]))
@pytest.mark.parametrize("canary", graded(CANARIES))
def test_who_is_the_canarys_is_answered_and_the_caller_is_not_charged_to_it(
    tmp_path: Path, champion: str, canary: str
) -> None:
    """What the champion answers is answered; what does not fit the canary's columns leaves no error of the canary's."""
    app = _app(tmp_path, {1: SIGNATURES[champion], 2: CANARIES[canary]}, 10_000)
    maker = Generator("plain", seed=1)
    row = {"amount": 1.5, "ratio": 0.5, "count": 3, "hour": 4, "foreign": True, "channel": "web"}
    odd = [{**row, **more} for more in ({"age": "old"}, {"new": "much"}, {"at": "soon"}, {"age": None}, {"age": 2.5})]
    bodies = [_json(dataframe_records=[one]) for one in (row, *odd)]
    bodies += [one.body for one in (maker.request(form) for form in FORMS for _ in range(5))]

    async def asked() -> list[Answer]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://fds") as client:
            return [await _posted(client, body, JSON) for body in bodies]

    answers = asyncio.run(asked())
    assert {answer.status for answer in answers} <= {200, 400}
    assert [answer.status for answer in answers[:6]] == [200, 400 if champion == "plain" else 200, 200, 200, 200, 200]
    errors = {one.error for one in app.worker.engine.fetched() if one.error}
    assert all("lacks columns of the canary" in str(error) for error in errors), errors
