"""Addresses without their secrets: the one place that decides what of an address people may see.

It works on text, because an address rarely stands alone: libraries put it into their messages, with more behind it.
"""

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
