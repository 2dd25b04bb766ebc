"""What the name of a column says: words in it, and the roles that they hint at."""

from __future__ import annotations

import re

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+|\d+")
_LONG = 5  # letters; a shorter word is found within others by chance


def words(name: str) -> list[str]:
    """The words of a name, lower case: `transDate_time2` has trans, date, time and 2."""
    return [word.lower() for word in _WORDS.findall(name)]


def has(name: str, keywords: frozenset[str]) -> bool:
    """Whether one of some words is a word of a name."""
    return not keywords.isdisjoint(words(name))


def holds(name: str, keywords: frozenset[str]) -> bool:
    """Whether a name has one of some words, long ones also as a part of another: `isfraud`, `kundennummer`."""
    joined = "".join(words(name))
    return has(name, keywords) or any(len(word) >= _LONG and word in joined for word in keywords)


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


FRAUD = _set("betrug chargeback chargebacks fradulent fraud fraude fraudulent illicit laundering scam")
EARLIER = _set("earlier historical history past prev previous prior")
"""Words of what is known of the past: a fraud of last year is no label and no leak."""

TARGET = _set("class ground label outcome target truth y")
CASE = FRAUD | _set("dispute disputed flagged investigation refunded")
"""Words of what happens after a fraud."""

KNOWN = CASE | _set("confirmed detected known label labeled labelled reported resolved settled")
"""Words of the time when a label became known."""

TIME = _set(
    "at created date datetime datum day days dt elapsed epoch fecha hora hour hours seconds step time "
    "timestamp ts uhrzeit unix when zeit"
)
OF_TRANSACTION = _set("auth buchung event incident order payment purchase trans transaction tx txn unix")
OTHER_TIME = _set(
    "bind birth born dob end expiration expires expiry first issued join joined known label last modified open "
    "opened opening policy prev previous register registered registration settled settlement signup since "
    "start update updated valid"
)
PERSON = _set("first firstname fullname last lastname nachname surname vorname")
INDEX = _set("idx index level row rowid rownum unnamed")
IDENTIFIER = _set("guid hash id ids key no nr num number nummer ref reference uuid")
TRANSACTION = OF_TRANSACTION | _set("beleg claim invoice record row")
AMOUNT = _set("amount amt betrag importe montant price summe total umsatz value")
NO_AMOUNT = _set(
    "average avg balance change cnt count daily diff distance last limit max mean median min new old pct per "
    "percent prev previous rate ratio received rolling score sent share since std units velocity"
)
MEASURE = NO_AMOUNT | _set(
    "age amount amt date days distinct dob dt flag free has hours is lat latitude lon long longitude match "
    "months pop population risk sum tenure time valid"
)
ATTRIBUTE = _set(
    "brand browser cat category channel chip city code country currency domain gender job kind level location "
    "make mcc method mode model occupation os plz postcode region segment sex state status street town type "
    "zip zipcode"
)

ENTITIES: tuple[tuple[str, frozenset[str]], ...] = (
    ("card", _set("card cc creditcard karte kartennummer pan tarjeta")),
    ("device", _set("dev device fingerprint geraet imei")),
    ("ip", _set("ip ipaddress ipv4 ipv6")),
    ("email", _set("email mail")),
    ("phone", _set("mobile msisdn phone telefon telephone")),
    ("terminal", _set("atm pos terminal")),
    ("merchant", _set("comercio haendler händler merch merchant seller shop store vendor")),
    ("recipient", _set("beneficiary dest destination payee receiver recipient")),
    (
        "customer",
        _set(
            "buyer client cliente consumer cust customer holder insured kunde kunden member orig origin payer sender "
            "user"
        ),
    ),
    ("provider", _set("provider")),
    ("account", _set("account acct cuenta iban konto")),
    ("address", _set("address wallet")),
)
"""Roles of entities by the words that hint at them, the most telling first: `card_holder_ip` is an IP address."""


def identifies(name: str) -> bool:
    """Whether a name ends with a word for an identifier, or begins with one; `id_07` is one of a series of numbers."""
    found = words(name)
    return bool(found) and (found[-1] in IDENTIFIER or (found[0] in IDENTIFIER and not is_numbered(name)))


def is_numbered(name: str) -> bool:
    """Whether a name is one of a series: `card2`, `V17`."""
    return words(name)[-1:] != [] and words(name)[-1].isdigit()


def entity_role(name: str) -> str | None:
    """The role that a column's name hints at; None for none, or for a measure or attribute of an entity."""
    if has(name, MEASURE) or has(name, ATTRIBUTE):
        return None
    return next((role for role, keywords in ENTITIES if holds(name, keywords)), None)


def as_role(name: str) -> str:
    """A column's name as the name of a role: lower-case letters, digits and underscores."""
    role = "_".join(re.findall(r"[a-z0-9]+", "_".join(words(name))))
    role = re.sub(r"_(id|no|nr|num|number|hash)$", "", role)
    return role if re.match(r"[a-z]", role) else f"entity_{role}".rstrip("_")
