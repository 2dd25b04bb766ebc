"""What is said to people of events, and of requests that wait."""

from __future__ import annotations

from fds_mlflow.core.lifecycle.approval import OpenRequest
from fds_mlflow.core.lifecycle.decision import decision
from fds_mlflow.core.lifecycle.events import Asked, Event, Kind
from fds_mlflow.core.weight import to_percent


def said(event: Event) -> str:
    """What an event did, in one sentence."""
    version, rollout, renaming = event.to_version, event.rollout, event.renaming
    names = f"{renaming.after.champion} (champion) and {renaming.after.canary} (canary)" if renaming else ""
    weight = f"{to_percent(rollout.weight):g} %" if rollout is not None else ""
    require = event.policy.require if event.policy else ()
    policy = f"for {', '.join(require)} from now on" if require else "for nothing any more"
    done = {
        Kind.STAGE: f"version {version} is a candidate now (Staging)",
        Kind.PROMOTE: f"version {version} is the champion now",
        Kind.START: f"version {version} is the canary now and gets {weight}",
        Kind.ADVANCE: f"canary {version} gets {weight} now",
        Kind.COMPLETE: f"the canary, version {version}, is the champion now ({decision(event)})",
        Kind.ABORT: f"canary {version} is stopped; version {event.from_version} gets all traffic",
        Kind.EMERGENCY: f"version {version} is the champion again",
        Kind.ROLLBACK: f"version {version} is the champion again",
        Kind.RETIRE: f"version {version} is out of the running now (Archived)",
        Kind.RENAME: f"the aliases are called {names} now",
        Kind.PAUSE: f"the rollout of version {version} is paused at {weight}; a guardrail that fails still ends it",
        Kind.RESUME: f"the rollout of version {version} goes on at {weight}",
        Kind.POLICY: f"the approval of a second person is needed {policy}",
        Kind.REQUEST: f"{event.operation} waits for the approval of a second person",
        Kind.APPROVE: f"request {event.answers} is approved",
        Kind.REJECT: f"request {event.answers} is rejected",
        Kind.ADOPT: f"the history now has the out-of-band change: champion {version}",
    }[event.kind]
    if event.answers and event.kind not in (Kind.APPROVE, Kind.REJECT):
        done = f"{done}, as approved in request {event.answers}"
    return f"{done}, by force" if event.forced and event.kind is not Kind.COMPLETE else done


def asked_for(asked: Asked) -> str:
    """What a request is for, in words."""
    weight = "" if asked.weight is None else f" to {to_percent(asked.weight):g} %"
    version = "" if asked.version is None else f" of version {asked.version}"
    policy = ""
    if asked.policy is not None:
        policy = f" to {', '.join(asked.policy.require) or 'nothing'}"
    return f"{asked.kind.shown}{version}{weight}{policy}{' by force' if asked.forced else ''}"


def waiting(model: str, one: OpenRequest) -> tuple[str, str]:
    """What is said to who asks for what waits for an approval, and the fix."""
    who = one.request.actor
    return (
        f"the {asked_for(one.asked)} of {model!r} waits for the approval of a second person: request {one.id} by {who}",
        f"have somebody else than {who} approve it (`fds approve {one.id}`) and ask again, or do both in one"
        f" (`fds approve {one.id} --execute`)",
    )
