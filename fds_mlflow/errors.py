"""The family of errors. Every message says what is wrong and names the fix, and shows no secret."""

from __future__ import annotations

from fds_mlflow.display.characters import printable
from fds_mlflow.display.redaction import redacted


class FdsError(Exception):
    """Base of every error this package raises on purpose.

    Args:
        what: One sentence: what is wrong, with the numbers or names that show it. Secrets in it are hidden, and
            characters that act or hide are written out, whatever it quotes.
        fix: One sentence: what the reader can do about it; as `what`.

    Attributes:
        exit_code: What `fds` exits with.
    """

    exit_code = 1

    def __init__(self, what: str, *, fix: str) -> None:
        self.what, self.fix = (printable(redacted(text), keep="\n\t") for text in (what, fix))
        super().__init__(self.what, self.fix)

    def __str__(self) -> str:
        return f"{self.what}\nFix: {self.fix}"


class DataError(FdsError):
    """The data does not fit its schema: a wrong column, dtype, NaN, duplicate or no rows."""


class ConfigError(FdsError):
    """A schema, plan or setting is not valid: an unknown key, a wrong value."""


class NotFoundError(FdsError):
    """A model, version, run or rollout that does not exist."""


class RefusedError(FdsError):
    """The state of the model does not allow the operation; nothing was changed."""


class AwaitsApprovalError(RefusedError):
    """The operation waits for the approval of a second person; nothing was changed but that the history has a request.

    Attributes:
        exit_code: 4, as wherever somebody is waited for.
        request: Id of the request; "" where nothing was written, in a dry run.
    """

    exit_code = 4

    def __init__(self, what: str, *, fix: str, request: str) -> None:
        super().__init__(what, fix=fix)
        self.request = request


class StaleError(RefusedError):
    """The history has gone on since the operation was decided; nothing was changed."""


class ConflictError(FdsError):
    """Another operation on the same model is in flight; nothing was changed."""


class OutcomeUnknownError(FdsError):
    """The operation was interrupted; the history will tell whether it happened."""


class UnavailableError(FdsError):
    """A server or database could not be reached in time; nothing more was tried.

    Attributes:
        answered: It was reached, and said that it failed.
    """

    def __init__(self, what: str, *, fix: str, answered: bool = False) -> None:
        super().__init__(what, fix=fix)
        self.answered = answered


class UnservableError(FdsError):
    """The champion has moved, and the version it moved to may not serve; the fix names where to go next."""


class UnexpectedError(FdsError):
    """A library failed where no failure was foreseen."""
