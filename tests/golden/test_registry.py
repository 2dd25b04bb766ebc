"""What earlier commits wrote into a registry: its history, its state and its operations in flight are still there."""

from __future__ import annotations

from typing import Any

import pytest
import xxhash

from fds_mlflow import ManagedModel, Plan
from tests.golden.support import HERE, MODEL, MemoryStore, Registry, lacking, registry

NAMES = sorted(path.stem for path in (HERE / "registry").glob("*.json"))
EXPORTS = sorted(path.stem for path in (HERE / "history").glob("*.jsonl"))
GONE = ("min_success_rate", "max_success_drop")
"""Keys of the first plans, by which nobody judges any more."""

DEFAULTS = {"min_outcomes": 100}
"""What the first plans wrote out although it was the default."""

INTERNAL = ("control",)
"""A key that only the plan of a watch has. Its meaning is tested below; how it is written is nobody's business."""


@pytest.fixture(params=NAMES)
def found(request: pytest.FixtureRequest) -> Registry:
    """Each of the registries."""
    return registry(request.param)


def without_plans(events: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Events whose rollouts have no plan, and the plan of each rollout."""
    plans = {event["rollout"]["id"]: event["rollout"].pop("plan") for event in events if "rollout" in event}
    return events, plans


def wrong_plans(golden: dict[str, Any], plans: dict[str, Any]) -> list[str]:
    """What the plans of a history lack."""
    expected = {
        rollout: {k: v for k, v in plan.items() if k not in (*GONE, *INTERNAL) and DEFAULTS.get(k) != v}
        for rollout, plan in golden.items()
    }
    return lacking(expected, plans)


def state(model: ManagedModel) -> dict[str, Any]:
    """The folded history, as the golden files have it."""
    folded = model.session.look().state
    rollout = folded.rollout
    return {
        "sequence": folded.sequence,
        "champion": folded.champion,
        "former": list(folded.former),
        "withdrawn": sorted(version for version in folded.withdrawn if version is not None),
        "stages": {str(version): stage.value for version, stage in folded.stages.items()},
        "rollout": rollout
        and {name: getattr(rollout, name) for name in ("id", "champion", "canary", "weight", "step")},
    }


def test_every_event_is_still_told(found: Registry) -> None:
    """Kind, versions, actor, reason, time, outcome, weight, basis and decision of each event, loose or packed."""
    events, plans = without_plans(found.events)
    assert lacking(found.golden["events"], events) == []
    assert wrong_plans(found.golden["plans"], plans) == []


def test_what_an_earlier_release_did_not_say_is_not_made_up(found: Registry) -> None:
    """Events without a basis stay so, and a rollout that began without a spelling of keys goes on without one."""
    events = {event["sequence"]: event for event in found.events}
    for golden in (event for event in found.golden["events"] if "time" in event):  # the packed ones are shortened
        today = events[golden["sequence"]]
        assert {"basis", "forced", "rollout"} & today.keys() == {"basis", "forced", "rollout"} & golden.keys()
        assert ("spelling" in today.get("rollout", {})) == ("spelling" in golden.get("rollout", {}))


def test_the_history_leads_to_the_same_state(found: Registry) -> None:
    """Champion, former champions, withdrawn ones, stages and the active rollout are folded as they were."""
    assert state(found.model) == found.golden["state"]
    assert [intent.id for intent in found.model.pending()] == found.golden["intents"]


def test_no_tag_is_called_damaged(found: Registry) -> None:
    """What an earlier commit wrote is never taken for the work of a hand: `doctor` can put all of it in order."""
    assert found.model.session.look().history.damaged == ()
    assert found.model.doctor(fix=True) == []


def test_the_active_rollout_routes_on(found: Registry) -> None:
    """The canary goes on getting the share that its rollout gave it, by the same hash."""
    rollout, folded = found.model.session.look().rollout, found.golden["state"]["rollout"]
    settled = (
        found.golden["intents"] == [] and found.golden["aliases"].get("champion") == found.golden["state"]["champion"]
    )
    assert not settled or (rollout.id if rollout else None) == (folded["id"] if folded else None)
    if rollout is None:
        return
    keys = [f"TX{number}" for number in range(1_000)]
    with found.model.router(record=False) as router:
        routes = [router.route(key) for key in keys]
    buckets = [xxhash.xxh64_intdigest(f"{rollout.id}:{key}".encode(), seed=42) % 10_000 for key in keys]
    assert [route.bucket for route in routes] == buckets
    assert [route.variant.value == "canary" for route in routes] == [bucket < rollout.weight for bucket in buckets]


def test_the_history_goes_on(found: Registry) -> None:
    """Dead operations are settled, rollouts can be ended, versions moved; nothing that was written changes."""
    model, before = found.model, found.model.history()
    model.settle()
    assert model.pending() == []
    if model.session.look().rollout is not None:
        model.canary.abort(reason="over")
    champion = model.session.look().champion_alias
    model.stage(6, reason="next")
    if model.session.look().state.emergency_target is not None:
        assert model.rollback.emergency(reason="back", validate=False).changed
        assert model.session.look().champion_alias != champion
    model.retire(6)
    assert list(reversed(model.history()))[: len(before)] == list(reversed(before))
    assert [event.sequence for event in reversed(model.history())] == list(range(1, len(model.history()) + 1))
    assert model.session.look().agrees


@pytest.mark.parametrize(
    ("name", "champion", "outcome"),
    [
        ("died-before-the-alias", 1, "abandoned"),
        ("died-after-the-alias", 2, "done"),
        ("died-after-the-alias.5811c74", 2, "done"),
        ("died-after-the-alias.cbde4d1", 2, "done"),
        ("died-after-recording", 1, "done"),
        ("emergency-in-flight", 1, "done"),
        ("died-completing.060e196", 2, "done"),
        ("died-advancing.060e196", 1, "abandoned"),
    ],
)
def test_a_dead_operation_ends_as_it_would_have(name: str, champion: int, outcome: str) -> None:
    """An intent left behind by an earlier release is settled by its decisive write."""
    found = registry(name)
    found.model.settle()
    assert found.store.models[MODEL].aliases["champion"] == champion
    assert found.model.history()[0].outcome.value == outcome


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("watch-under-way")])
def test_a_watch_is_still_a_watch(name: str) -> None:
    """The former champion in it is a control, not a candidate: once the watch is over, it is archived again."""
    found = registry(name)
    assert [window for window in found.golden["plans"].values() if window.get("control")]
    found.model.canary.abort(reason="seen enough")
    assert {number: v.stage for number, v in found.store.models[MODEL].versions.items() if number < 3} == {
        1: "Archived",
        2: "Production",
    }


@pytest.mark.parametrize("name", EXPORTS)
def test_an_exported_history_can_be_imported(name: str) -> None:
    """A file that an earlier commit exported moves the model: events, state and aliases."""
    golden = registry(name).golden
    store = MemoryStore()
    store.add(MODEL, versions=6)
    model = ManagedModel(MODEL, store=store, actor="eve")
    model.import_history((HERE / "history" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines())
    assert state(model) == golden["state"]
    assert model.session.look().agrees
    assert lacking(golden["events"], without_plans(Registry(golden, store, model).events)[0]) == []


def test_the_fixtures_hold_every_kind_and_every_ending() -> None:
    """Nothing that a history can say is left out of what these files keep readable."""
    events = [event for name in NAMES for event in registry(name).golden["events"]]
    assert {event["kind"] for event in events} == {
        "stage", "promote", "start", "advance", "complete", "abort", "emergency", "rollback", "retire", "adopt",
        "rename",
    }  # fmt: skip
    assert {event["outcome"] for event in events} == {"done", "abandoned", "overtaken"}
    assert {event["rollout"]["status"] for event in events if "rollout" in event} >= {
        "active", "completed", "aborted", "rolled_back", "overtaken",
    }  # fmt: skip
    assert {event["decision"] for event in events if "decision" in event} >= {
        "completed by hand without a PASS", "forced", "passed", "aborted by the judge", "aborted undecided",
        "aborted by hand", "rolled back by the judge", "rolled back by hand", "watch over", "overtaken",
    }  # fmt: skip
    assert set(Plan([5]).to_dict()) < {
        key for name in NAMES for p in registry(name).golden["plans"].values() for key in p
    }
