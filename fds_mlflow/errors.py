"""The family of errors. Every message says what is wrong and names the fix, and shows no address's secrets."""

from __future__ import annotations

import re

_HIDDEN = "***"

# Up to the *last* @ of the line, before another address: in `://me:p@ss w@host` the password is `p@ss w`, and whatever
# a parser makes of an address that is written wrongly, nothing before the host is shown; rather a word too few than
# half a password. Only what looks like a port ends with its word. A path after `///` has no user.
_PORT = r"\d{2,5}(?![^\s/,;.'\")\]])"
_ANOTHER = r"\s\W{0,3}(?:[\w.+-]{1,30}://|models:/)"
_PASSWORD = re.compile(rf"(?<=://)(?!/)([^\s:/]*):(?:(?!{_PORT})(?:(?!{_ANOTHER})[^\n])*|\S*)@")
_TOKEN = re.compile(r"\b(https?://)[^\s:/@]+@", re.IGNORECASE)
_PARAMETER = re.compile(
    r"([?&;][^\s=&?]*(?:password|passwd|pwd|secret|token|signature|credential|odbc_connect|(?:api|access)[-_]?key|passphrase|sig)=)[^\s&'\"]*",
    re.IGNORECASE,
)


def redacted(text: str) -> str:
    """A text in which every address has `***` for its password, for a bare token, and for secret parameters."""
    if "://" not in text:
        return text
    shown = _PASSWORD.sub(rf"\1:{_HIDDEN}@", text)
    shown = _TOKEN.sub(rf"\1{_HIDDEN}@", shown)
    return _PARAMETER.sub(rf"\1{_HIDDEN}", shown)


class FdsError(Exception):
    """Base of every error this package raises on purpose.

    Args:
        what: One sentence: what is wrong, with the numbers or names that show it. Passwords in addresses are hidden.
        fix: One sentence: what the reader can do about it.

    Attributes:
        exit_code: What `fds` exits with.
    """

    exit_code = 1

    def __init__(self, what: str, *, fix: str) -> None:
        self.what = redacted(what)
        super().__init__(self.what, fix)
        self.fix = fix

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
