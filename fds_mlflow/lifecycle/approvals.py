"""Four eyes: what of a model needs the approval of a second person, what waits for one, and the answers."""

from __future__ import annotations

from collections.abc import Iterable

from fds_mlflow.core.lifecycle.approval import OpenRequest
from fds_mlflow.core.lifecycle.events import Kind, Policy
from fds_mlflow.core.lifecycle.operations import Request
from fds_mlflow.core.plan.approval import Approval, to_approvals
from fds_mlflow.lifecycle.session import Session
from fds_mlflow.registry.transaction import Result


class Approvals:
    """Four eyes: `model.approvals.require(["promote"])`, then `model.approvals.approve(id)` by a second person.

    An operation that needs an approval and has none raises `AwaitsApprovalError` and leaves a request in the history.
    Once another person has approved it, the same operation goes ahead, whoever asks for it again: unless the version,
    the plan, what serves or the policy has changed, or a week has passed. Stopping waits for nobody.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def policy(self) -> Policy:
        """What of the model needs an approval, whatever a plan says."""
        return self._session.look().policy

    def require(self, approvals: Iterable[Approval | str], *, reason: str = "") -> Result:
        """Say what of the model needs an approval from now on; an empty list for nothing.

        Args:
            approvals: "start", "gate", "complete", "promote".
            reason: Why, at most 1,000 bytes.

        Raises:
            ConfigError: One of them is unknown.
            AwaitsApprovalError: Something needs an approval today: then so does this.
        """
        view = self._session.look()
        policy = Policy(to_approvals("the policy", approvals), view.policy.later)
        return self._session.run(Request(Kind.POLICY, policy=policy, anew=view.policy != view.state.policy), reason)

    def requests(self) -> list[OpenRequest]:
        """Requests that wait for an approval, or have one and were not carried out yet; the oldest first."""
        now = self._session.now()
        return [one for one in self._session.look().state.requests.values() if one.holds(now)]

    def approve(self, request: str, *, reason: str = "") -> Result:
        """Approve a request of somebody else; whoever asks for the operation next carries it out.

        Args:
            request: Its id.
            reason: Why, at most 1,000 bytes.

        Raises:
            RefusedError: It is not open any more, or the one who asked approves it.
        """
        return self._session.run(Request(Kind.APPROVE, answers=request), reason)

    def reject(self, request: str, *, reason: str) -> Result:
        """Reject a request, or withdraw one's own.

        Args:
            request: Its id.
            reason: Why, at most 1,000 bytes.

        Raises:
            RefusedError: It is not open any more, or no reason is given.
        """
        return self._session.run(Request(Kind.REJECT, answers=request), reason)
