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


FRAUD = frozenset(
    {"fraud", "fraudulent", "chargeback", "chargebacks", "scam", "betrug", "fraude", "illicit", "laundering"}
)
TARGET = frozenset({"label", "class", "target", "y", "outcome", "ground", "truth"})
CASE = FRAUD | {"dispute", "disputed", "investigation", "flagged", "refunded"}
"""Words of what happens after a fraud."""

KNOWN = CASE | {"known", "label", "labelled", "labeled", "reported", "confirmed", "settled", "detected", "resolved"}
"""Words of the time when a label became known."""

TIME = frozenset(
    {
        *(
            "time",
            "date",
            "datetime",
            "timestamp",
            "ts",
            "dt",
            "when",
            "at",
            "epoch",
            "unix",
            "datum",
            "uhrzeit",
            "zeit",
        ),
        *("fecha", "hora", "created", "day", "step", "hour", "hours", "seconds", "elapsed", "days"),
    }
)
OF_TRANSACTION = frozenset(
    {
        "trans",
        "transaction",
        "tx",
        "txn",
        "purchase",
        "order",
        "payment",
        "event",
        "incident",
        "unix",
        "buchung",
        "auth",
    }
)
OTHER_TIME = frozenset(
    {
        *(
            "birth",
            "dob",
            "born",
            "signup",
            "registration",
            "register",
            "registered",
            "open",
            "opened",
            "opening",
            "expiry",
        ),
        *("expires", "expiration", "bind", "start", "end", "update", "updated", "modified", "join", "joined", "issued"),
        *("valid", "since", "last", "first", "prev", "previous", "policy", "label", "settled", "settlement", "known"),
    }
)
PERSON = frozenset({"first", "last", "firstname", "lastname", "surname", "fullname", "vorname", "nachname"})
INDEX = frozenset({"unnamed", "index", "idx", "rownum", "row", "rowid", "level"})
IDENTIFIER = frozenset(
    {"id", "ids", "uuid", "guid", "key", "no", "nr", "num", "number", "ref", "reference", "hash", "nummer"}
)
TRANSACTION = OF_TRANSACTION | {"claim", "invoice", "record", "row", "beleg"}
AMOUNT = frozenset({"amount", "amt", "betrag", "importe", "montant", "umsatz", "summe", "value", "price", "total"})
NO_AMOUNT = frozenset(
    {
        *("min", "max", "avg", "mean", "median", "std", "diff", "old", "new", "ratio", "count", "cnt", "rate", "pct"),
        *(
            "balance",
            "limit",
            "since",
            "prev",
            "previous",
            "last",
            "usd_rate",
            "distance",
            "velocity",
            "rolling",
            "per",
        ),
        *("score", "change", "share", "percent", "sent", "received", "units"),
    }
)
MEASURE = NO_AMOUNT | frozenset(
    {
        *(
            "lat",
            "long",
            "lon",
            "latitude",
            "longitude",
            "age",
            "amount",
            "amt",
            "risk",
            "days",
            "hours",
            "time",
            "date",
            "dt",
        ),
        *(
            "distinct",
            "valid",
            "free",
            "flag",
            "is",
            "has",
            "pop",
            "population",
            "tenure",
            "months",
            "match",
            "sum",
            "dob",
        ),
    }
)
ATTRIBUTE = frozenset(
    {
        *(
            "city",
            "state",
            "country",
            "zip",
            "zipcode",
            "postcode",
            "plz",
            "category",
            "cat",
            "type",
            "kind",
            "brand",
            "os",
        ),
        *(
            "status",
            "gender",
            "sex",
            "segment",
            "level",
            "job",
            "occupation",
            "model",
            "make",
            "browser",
            "mcc",
            "region",
        ),
        *("code", "currency", "channel", "method", "mode", "domain", "chip", "location", "town", "street"),
    }
)

ENTITIES: tuple[tuple[str, frozenset[str]], ...] = (
    ("card", frozenset({"card", "cc", "pan", "creditcard", "karte", "kartennummer", "tarjeta"})),
    ("device", frozenset({"device", "fingerprint", "imei", "dev", "geraet"})),
    ("ip", frozenset({"ip", "ipaddress", "ipv4", "ipv6"})),
    ("email", frozenset({"email", "mail"})),
    ("phone", frozenset({"phone", "mobile", "telephone", "msisdn", "telefon"})),
    ("terminal", frozenset({"terminal", "pos", "atm"})),
    (
        "merchant",
        frozenset({"merchant", "merch", "shop", "vendor", "store", "seller", "haendler", "händler", "comercio"}),
    ),
    ("recipient", frozenset({"dest", "destination", "recipient", "beneficiary", "payee", "receiver"})),
    (
        "customer",
        frozenset(
            {
                *(
                    "customer",
                    "client",
                    "user",
                    "cust",
                    "payer",
                    "orig",
                    "origin",
                    "holder",
                    "member",
                    "sender",
                    "buyer",
                ),
                *("kunde", "kunden", "cliente", "consumer", "insured", "provider"),
            }
        ),
    ),
    ("account", frozenset({"account", "acct", "iban", "konto", "cuenta"})),
    ("address", frozenset({"address", "wallet"})),
)
"""Roles of entities by the words that hint at them, the most telling first: `card_holder_ip` is an IP address."""


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
