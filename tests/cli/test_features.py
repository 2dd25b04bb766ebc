"""`fds features`: a specification to begin with, whether one fits, and what it means."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from click.testing import CliRunner, Result
from rich.console import Console, RenderableType

from fds_mlflow.cli import main
from fds_mlflow.cli.output import feature_views
from fds_mlflow.data.schema import Schema
from fds_mlflow.features.defaults import default_spec
from fds_mlflow.features.explanation import sentences
from fds_mlflow.features.parts import Aggregate
from fds_mlflow.features.spec import FeatureSpec, handbook_spec
from fds_mlflow.features.state.coverage import BEGINNING, needed
from fds_mlflow.features.state.layout import Layout
from fds_mlflow.features.state.lmdb_store import LmdbStore
from fds_mlflow.features.state.state import State
from fds_mlflow.features.template import template
from fds_mlflow.simulator import simulate
from fds_mlflow.workflows.source import Source
from tests.support.redis_server import RedisServer

SPEC = """\
numeric: [amount]
windows:
  - {entity: card, aggregate: count, windows: [1d]}
  - {entity: card, aggregate: mean, windows: [30d]}
  - {entity: merchant, aggregate: risk, windows: [7d]}
expressions:
  - {name: amount_to_mean, of: amount / card_mean_amount_30d}
  - {name: surprise, of: "log(amount_to_mean) - account_age_days"}
hidden: [card_mean_amount_30d]
label_delay: 2d
"""


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A specification in the working directory."""
    monkeypatch.chdir(tmp_path)
    Path("spec.yaml").write_text(SPEC)
    return "spec.yaml"


def fds(*words: str, code: int = 0) -> Result:
    """`fds features ...`, which ends with this code."""
    made = CliRunner().invoke(main, ["features", *words])
    assert made.exit_code == code, made.output
    return made


def widest(shown: RenderableType) -> int:
    """The longest line on a terminal of 80 columns."""
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(shown)
    return max(map(len, console.export_text().splitlines()))


@pytest.mark.parametrize("schema", ["simulator", "sample", "handbook", "ulb"])
def test_a_template_is_the_default_features(schema: str, tmp_path: Path) -> None:
    """As it stands a template is what `fds train` computes by itself, whatever the schema; it fits 80 columns."""
    path = tmp_path / "features.yaml"
    path.write_text(fds("template", "--schema", schema).output)
    expected = default_spec(Schema.load(schema))
    assert FeatureSpec.load(path) == expected
    assert FeatureSpec(**json.loads(fds("template", "--schema", schema, "--json").stdout)) == expected
    assert max(map(len, path.read_text().splitlines())) <= 80
    assert set(FeatureSpec.model_fields) <= {line.lstrip("# ").split(":")[0] for line in path.read_text().splitlines()}


def test_a_template_of_odd_columns_is_read_again(tmp_path: Path) -> None:
    """Columns that YAML would take for something else, no time, no amount: the template still reads."""
    columns = {"numeric": ["null", "1e3", "a: b #c"], "categorical": ["{x}", "é\u2028"]}
    odd = Schema(transaction_id=None, time=None, amount=None, **columns)
    path = tmp_path / "features.yaml"
    path.write_text(template(odd), encoding="utf-8")
    assert FeatureSpec.load(path) == default_spec(odd)


def test_the_examples_of_a_template_are_valid(tmp_path: Path) -> None:
    """Whoever removes the signs before an example has a specification that fits the schema."""
    text = fds("template").output.replace(" []\n#  - ", "\n  - ").replace("# label_delay", "label_delay")
    path = tmp_path / "features.yaml"
    path.write_text(text.replace("# time_zone", "time_zone"))
    found = FeatureSpec.load(path)
    assert (len(found.gaps), [item.name for item in found.expressions]) == (1, ["amount_to_mean"])
    assert fds("check", str(path), "--schema", "simulator").exit_code == 0


def test_a_template_replaces_no_file(spec: str) -> None:
    """`--output` writes a new file, and refuses one that is there."""
    assert "is there already" in fds("template", "-o", spec, code=1).output
    fds("template", "-o", "new.yaml")
    assert FeatureSpec.load("new.yaml") == default_spec(Schema.load("simulator"))


def test_a_check_says_what_is_read_and_what_is_missing(spec: str) -> None:
    """Features, longest window and columns are told; each column that a schema lacks is named, and the code is 1."""
    value = json.loads(fds("check", spec, "--json").stdout)
    assert value == {
        "features": 5,
        "hidden": 1,
        "kinds": {"numeric": 1, "windows": 3, "expressions": 2},
        "longest_window": "30d",
        "reads": {
            **{"card": "entity", "merchant": "entity", "label": "label"},
            **{"account_age_days": "numeric", "amount": "numeric", "time": "time"},
        },
        "fits": None,
        "problems": [],
    }
    assert json.loads(fds("check", spec, "--schema", "simulator", "--json").stdout)["fits"] is True
    shown = fds("check", spec, "--schema", "handbook", code=1).output
    assert "spec.yaml is valid: 5 features (1 of what is computed is hidden)" in shown
    problems = json.loads(fds("check", spec, "--schema", "handbook", "--json", code=1).stdout)["problems"]
    assert problems == [
        "the entity column 'merchant' is missing (for merchant_risk_7d)",
        "the entity column 'card' is missing (for card_count_1d)",
    ]
    assert widest(feature_views.check(spec, value, "the schema")) <= 80


def test_a_check_looks_at_the_rows_where_there_are_any(spec: str) -> None:
    """Data that fit pass; labels that only frauds ever get make a risk impossible, which only the rows can tell."""
    frame = simulate.transactions(500)
    frame.to_csv("orders.csv", index=False)
    plain: dict[str, Any] = Schema.load("simulator").model_dump(exclude_defaults=True)
    Path("shop.yaml").write_text(yaml.safe_dump(plain))
    assert "orders.csv has all of it" in fds("check", spec, "--data", "orders.csv", "--schema", "shop.yaml").output
    frame.loc[frame["is_fraud"] == 0, "label_known_at"] = None
    frame.to_csv("orders.csv", index=False)
    told = json.loads(fds("check", spec, "--data", "orders.csv", "--schema", "shop.yaml", "--json", code=1).stdout)
    assert "compares frauds with all known labels" in told["problems"][0]
    assert "labels_mature" in told["problems"][0]


def test_a_specification_that_is_none_is_refused(spec: str) -> None:
    """A wrong name, a wrong key and a wrong expression are errors with a way out, on standard error or as JSON."""
    assert "there is no shipped feature specification 'spec'" in fds("check", "spec", code=1).output
    Path(spec).write_text(SPEC.replace("log(", "lg("))
    told = fds("check", spec, "--json", code=1)
    assert "did you mean 'log'?" in told.output


def test_each_feature_is_explained_in_a_sentence(spec: str) -> None:
    """One line a feature; of one feature alone also what it is computed from."""
    told = json.loads(fds("explain", spec, "--json").stdout)
    assert [item["name"] for item in told] == FeatureSpec.load(spec).computed
    said = {item["name"]: item["is"] for item in told}
    assert said["card_count_1d"] == ("number of the card's transactions in the 24 h up to and including this one")
    assert said["card_mean_amount_30d"] == (
        "mean of amount over the card's transactions in the 30 d up to and including this one; missing where there is"
        " none"
    )
    assert said["merchant_risk_7d"] == (
        "share of frauds among the merchant's transactions whose label became known in the 7 d up to this one, 2 d"
        " after its transaction at the earliest; 0 where there is none"
    )
    assert said["surprise"].startswith("log(amount_to_mean) - account_age_days; missing where")
    one = json.loads(fds("explain", spec, "surprise", "--json").stdout)
    assert [item["name"] for item in one] == ["surprise", "amount_to_mean", "amount", "card_mean_amount_30d"]
    assert [item["hidden"] for item in one] == [False, False, False, True]
    assert "did you mean 'surprise'?" in fds("explain", spec, "suprise", code=1).output
    shown = fds("explain", "handbook").output
    assert all(sentence in " ".join(shown.split()) for sentence in list(sentences(handbook_spec()).values())[:6])
    assert widest(feature_views.explanation("handbook", feature_views.explained(handbook_spec(), None))) <= 80


def test_every_kind_of_feature_has_its_sentence() -> None:
    """Every aggregate, flag, gap and category is explained, each otherwise than the others."""
    aggregates = [each for each in get_args(Aggregate) if each != "distinct"]
    windows: list[dict[str, Any]] = [{"entity": "card", "aggregate": each, "windows": ["1h"]} for each in aggregates]
    windows += [{**windows[0], "above": 3}, {**windows[0], "above": 3, "of": "items"}, {**windows[0], "earlier": True}]
    windows.append({"entity": "card", "aggregate": "max", "expression": "each", "windows": ["1h"]})
    windows.append({"entity": "card", "aggregate": "distinct", "of": "shop", "windows": ["1h"]})
    flags = [{"flag": "weekend"}, {"flag": "night"}]
    expressions = [{"name": "each", "of": "amount / items"}]
    made = FeatureSpec(
        windows=windows, flags=flags, gaps=[{"entity": "card"}], expressions=expressions, categorical=["country"]
    )
    said = sentences(made)
    assert list(said) == made.computed
    assert len(set(said.values())) == len(said) == 23


def run(*words: str) -> Result:
    """`fds features ...`, whatever it ends with."""
    return CliRunner().invoke(main, ["features", *words])


def test_a_state_is_loaded_shown_and_forgotten(tmp_path: Path) -> None:
    """From a history to a state: what it keeps of an entity is shown, and goes when it is to be forgotten."""
    spec, state, data = tmp_path / "spec.yaml", tmp_path / "state", "simulator:800"
    assert run("template", "-o", str(spec)).exit_code == 0
    loaded = json.loads(run("load", str(spec), "--data", data, "--state", str(state), "--json").stdout)
    assert (loaded["transactions"], loaded["entities"] > 100) == (800, True)
    again = json.loads(run("load", str(spec), "--data", data, "--state", str(state), "--json").stdout)
    assert (again["transactions"], again["whole_from"]) == (0, loaded["whole_from"])
    merchant = Source(data).read().frame["merchant"].mode()[0]
    shown = json.loads(run("show", "merchant", merchant, "--state", str(state), "--json").stdout)
    assert shown["transactions"] == shown["within"]["30d"] > shown["within"]["1h"] > 0
    assert f"merchant {merchant}: " in run("show", "merchant", merchant, "--state", str(state)).stdout
    gone = json.loads(run("forget", "merchant", merchant, "--state", str(state), "--json").stdout)
    assert gone["removed"] == shown["transactions"] + shown["labels"]
    assert "keeps nothing of" in run("show", "merchant", merchant, "--state", str(state)).stdout
    for role, folder, said in (("shoe", state, "keeps no 'shoe'"), ("merchant", tmp_path, "there is no state in")):
        refused = run("show", role, merchant, "--state", str(folder))
        assert (refused.exit_code, said in refused.stderr) == (1, True)


def test_a_state_on_a_server_is_named_by_its_address(redis_server: RedisServer, tmp_path: Path) -> None:
    """What is done with a state in a folder is done with one in a Redis; its address may be in the environment."""
    spec, address = tmp_path / "spec.yaml", redis_server.url("commands")
    run("template", "-o", str(spec))
    nothing = run("show", "merchant", "M1", "--state", address)
    assert (nothing.exit_code, "there is no state in" in nothing.stderr) == (1, True)
    loaded = json.loads(run("load", str(spec), "--data", "simulator:300", "--state", address, "--json").stdout)
    assert loaded["transactions"] == 300
    merchant = Source("simulator:300").read().frame["merchant"].mode()[0]
    named = CliRunner(env={"FDS_STATE": address})
    shown = json.loads(named.invoke(main, ["features", "show", "merchant", merchant, "--json"]).stdout)
    gone = json.loads(named.invoke(main, ["features", "forget", "merchant", merchant, "--json"]).stdout)
    assert gone["removed"] == shown["transactions"] + shown["labels"] > 0


def test_a_state_without_a_history_is_accepted_as_it_is(tmp_path: Path) -> None:
    """Without --data nothing is loaded; --accept-cold says that nothing came before, and without it it is refused."""
    spec, state = tmp_path / "spec.yaml", tmp_path / "state"
    run("template", "-o", str(spec))
    refused = run("load", str(spec), "--state", str(state))
    assert (refused.exit_code, "--accept-cold" in refused.stderr) == (2, True)
    loaded = json.loads(run("load", str(spec), "--state", str(state), "--accept-cold", "--json").stdout)
    assert (loaded["transactions"], loaded["whole_from"]) == (0, None)
    kept = State(LmdbStore(state), Layout())
    assert kept.coverage.whole_from(needed(FeatureSpec.load(spec))) == BEGINNING
    kept.close()


def test_a_replay_that_equals_the_batch_says_so(tmp_path: Path) -> None:
    """`verify` ends with 0 where no row differs, and tells how many were replayed."""
    spec = tmp_path / "spec.yaml"
    run("template", "-o", str(spec))
    found = run("verify", str(spec), "--data", "simulator:300", "--json")
    assert found.exit_code == 0
    assert json.loads(found.stdout) == {"rows": 300, "mismatched_rows": 0, "features": [], "max_rel_diff": 0.0}
    assert "300 transactions replayed" in run("verify", str(spec), "--data", "simulator:300").stdout
