"""What an approval is asked for, and the policy that asks for it, as plain values and as a tag."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fds_mlflow.core.lifecycle.events import Asked, Kind, Policy
from fds_mlflow.core.lifecycle.policy import STRICTEST
from fds_mlflow.core.plan.approval import to_approvals
from fds_mlflow.core.plan.plan import MAX_ENCODED
from fds_mlflow.core.weight import FULL
from fds_mlflow.registry import alias_names, grammar

POLICY = "fds.policy"
"""On the model: for what the approval of a second person is asked; absent where for nothing. The history counts: what
the tag asks for beyond it counts as well, so that nobody lifts a policy by editing the tag."""

_ASKED = frozenset(
    {*("kind", "version", "weight", "forced", "plan", "is_watch", "names", "policy", "versions", "terms", "state")}
)


def values_of(asked: Asked) -> dict[str, Any]:
    """What an approval is asked for, as plain values; what says nothing is left out."""
    values = {name: getattr(asked, name) for name in ("version", "weight", "forced", "is_watch")}
    values |= {name: getattr(asked, name) for name in ("versions", "terms", "state")}
    said = {name: value for name, value in values.items() if value or (value == 0 and value is not False)}
    values = {"kind": asked.kind.value, **said}
    if asked.plan:
        values["plan"] = json.loads(asked.plan)
    if asked.names is not None:
        values["names"] = alias_names.values_of(asked.names)
    if asked.policy is not None:
        values["policy"] = policy_values(asked.policy)
    return {**json.loads(asked.later or "{}"), **values}


def of_values(values: Any) -> Asked:
    """Read what `values_of` wrote; raises one of `UNREADABLE` where it breaks a bound."""
    names, policy, plan = (values.get(name) for name in ("names", "policy", "plan"))
    return Asked(
        kind=Kind(values["kind"]),
        version=grammar.maybe_version(values.get("version")),
        weight=None if values.get("weight") is None else grammar.whole(values["weight"], 0, FULL),
        forced=values.get("forced") is True,
        plan="" if plan is None else _plan(plan),
        is_watch=values.get("is_watch") is True,
        names=None if names is None else alias_names.checked(alias_names.of_values(names)),
        policy=None if policy is None else policy_of(policy),
        **{name: grammar.text(values.get(name, ""), grammar.MAX_ID) for name in ("versions", "terms", "state")},
        later=grammar.later(values, _ASKED),
    )


def _plan(values: Any) -> str:
    if not isinstance(values, Mapping):
        raise TypeError(f"{values!r:.100} is no plan")
    grammar.short(values, "the plan", MAX_ENCODED)
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def policy_values(policy: Policy) -> dict[str, Any]:
    """A policy as plain values, with whatever a later release has written beside them."""
    return {**json.loads(policy.later or "{}"), "require": [each.value for each in policy.require]}


def policy_of(values: Any) -> Policy:
    """Read what `policy_values` wrote; raises one of `UNREADABLE` where it is none."""
    return Policy(to_approvals("require", values["require"]), grammar.later(values, {"require"}))


def decode(model_tags: Mapping[str, str]) -> Policy | None:
    """The policy that a model's tag states; None where it cannot be parsed."""
    value = model_tags.get(POLICY)
    if value is None:
        return Policy()
    try:
        return policy_of(grammar.parse(value))
    except grammar.UNREADABLE:
        return None


def stated(model_tags: Mapping[str, str]) -> Policy:
    """The policy that a model's tag asks for; of one that cannot be parsed, everything."""
    found = decode(model_tags)
    return STRICTEST if found is None else found


def encode(policy: Policy) -> str:
    """Value of the tag with a model's policy."""
    return grammar.dump(policy_values(policy))
