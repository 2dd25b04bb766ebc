"""Numeric expressions over a transaction and its windows, such as ``amount / customer_mean_amount_30d``.

What one means, wherever it is computed
---------------------------------------
Every value is a float64, every operation that of IEEE 754, with one rule beside it: an operation without a finite
result gives a missing value (NaN). So a division by zero is missing, and so are the logarithm of what is not positive,
the root of what is negative, and what is too large for a float64. What is computed from a missing value is missing;
`coalesce` alone passes over it. The logarithms and `exp` may differ in the last digit from one machine to another.

What may be written
-------------------
Numbers; names of numeric columns, flags, windows, gaps and earlier expressions; ``+ - * /``, the unary minus,
parentheses; the functions of `FUNCTIONS`. A name that is no plain word stands in quotes: ``amount / 'ip mean 7d'``.
Python's parser reads the text, nothing is run: what is not named here is refused.
"""

from __future__ import annotations

import ast
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import lru_cache, reduce
from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]

LONGEST = 1_000
"""Characters of an expression: a longer one is better written as several."""

DEEPEST = 50
"""Operations within operations; a sum of so many terms is as deep."""


@dataclass(frozen=True)
class Function:
    """A function of the grammar.

    Attributes:
        compute: Its values, given those of its arguments.
        fewest: Arguments that it takes at least.
        most: Arguments that it takes at most; None where there may be any number.
    """

    compute: Callable[..., Any]
    fewest: int = 1
    most: int | None = 1


def _smallest(*values: Values) -> Any:
    return reduce(np.minimum, values)


def _largest(*values: Values) -> Any:
    return reduce(np.maximum, values)


def _first(*values: Values) -> Any:
    return reduce(lambda known, other: np.where(np.isnan(known), other, known), values)


FUNCTIONS: Mapping[str, Function] = {
    "abs": Function(np.abs),
    "log": Function(np.log),
    "log1p": Function(np.log1p),
    "sqrt": Function(np.sqrt),
    "exp": Function(np.exp),
    "min": Function(_smallest, 2, None),
    "max": Function(_largest, 2, None),
    "coalesce": Function(_first, 2, None),
}
"""`log` is natural, `log1p(x)` is log(1 + x); `min` and `max` go row by row; `coalesce`: the first that is there."""

_OPERATORS: Mapping[type, tuple[str, Callable[..., Any]]] = {
    ast.Add: ("+", np.add),
    ast.Sub: ("-", np.subtract),
    ast.Mult: ("*", np.multiply),
    ast.Div: ("/", np.divide),
}


@dataclass(frozen=True)
class Number:
    """A number that stands in the text."""

    value: float


@dataclass(frozen=True)
class Name:
    """A name that stands in the text, from a character on, counted from 1; where it stands makes it no other one."""

    name: str
    at: int = field(compare=False, repr=False)


@dataclass(frozen=True)
class Operation:
    """An operator or function with its arguments."""

    compute: Callable[..., Any]
    arguments: tuple[Number | Name | Operation, ...]


Node = Number | Name | Operation


@lru_cache(maxsize=4096)
def parse(text: str) -> Node:
    """Read an expression.

    Raises:
        ValueError: It is none, or beyond a bound; says at which character.
    """
    if len(text) > LONGEST:
        raise ValueError(f"the expression has {len(text):,} characters, more than {LONGEST:,}: write several")
    flat = "".join(" " if sign.isspace() else sign for sign in text)
    begin = len(flat) - len(flat.lstrip())
    try:
        with warnings.catch_warnings(action="ignore"):  # of what Python would not write so
            read = ast.parse(flat.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        at = getattr(error, "offset", None)
        why = error.msg if isinstance(error, SyntaxError) else "it cannot be read"
        raise ValueError(f"{text[:80]!r} is no expression{_at(begin + at) if at else ''}: {why}") from None
    made = _Reading(flat.strip(), begin).node(read, 1)
    if next(names_in(made), None) is None:
        raise ValueError(f"{text[:80]!r} is the same for every transaction: name a column or a window")
    return made


def names_in(node: Node) -> Iterator[Name]:
    """The names that an expression reads, in the order of the text, as often as they stand there."""
    if isinstance(node, Name):
        yield node
    elif isinstance(node, Operation):
        for argument in node.arguments:
            yield from names_in(argument)


def unknown(found: Name, known: list[str]) -> str:
    """What to say of a name that nothing has: where it stands, and the nearest that there is."""
    near = get_close_matches(found.name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(sorted(known)) or 'none'}"
    return f"unknown name {found.name!r}{_at(found.at)} ({hint})"


def evaluate(node: Node, columns: Mapping[str, Values]) -> Values:
    """The values of an expression.

    Args:
        node: The expression.
        columns: What its names stand for: float64 of one shape, NaN = missing.

    Returns:
        A new array of that shape, NaN = missing; each value is what it is in an array of one row.
    """
    with np.errstate(all="ignore"):
        found = _value(node, columns)
        return np.asarray((_finite(found) if isinstance(node, Name) else found) + 0.0)  # there is one zero


def extended(columns: Mapping[str, Any], items: Mapping[str, Node]) -> dict[str, Any]:
    """The same columns, and the values of expressions by name; each may read those before it. As for `evaluate`."""
    made = dict(columns)
    for name, node in items.items():
        made[name] = evaluate(node, made)
    return made


def _value(node: Node, columns: Mapping[str, Values]) -> Any:
    if isinstance(node, Number):
        return np.float64(node.value)
    if isinstance(node, Name):
        # NumPy takes other loops, with other last digits, for what does not lie side by side.
        return np.ascontiguousarray(columns[node.name], dtype=np.float64)
    return _finite(node.compute(*(_value(argument, columns) for argument in node.arguments)))


def _finite(values: Any) -> Any:
    known = np.isfinite(values)
    return values if known.all() else np.where(known, values, np.nan)


def _at(character: int) -> str:
    return f" at character {character}"


class _Reading:
    """From Python's tree to ours: what is not allowed by name is refused where it stands."""

    def __init__(self, text: str, begin: int) -> None:
        self._text = text
        self._begin = begin

    def _place(self, node: ast.expr) -> int:
        return self._begin + len(self._text.encode()[: node.col_offset].decode()) + 1

    def _refused(self, node: ast.expr, why: str) -> ValueError:
        shown = ast.get_source_segment(self._text, node) or self._text
        return ValueError(f"{shown[:80]!r}{_at(self._place(node))}: {why}")

    def node(self, node: ast.expr, depth: int) -> Node:
        """One node and what it holds."""
        if depth > DEEPEST:
            raise self._refused(node, f"more than {DEEPEST} operations within operations: write several expressions")
        match node:
            case ast.Name(id=name) | ast.Constant(value=str(name)):
                return Name(name, self._place(node))
            case ast.Constant(value=bool()):
                raise self._refused(node, "write 1 or 0")
            case ast.Constant(value=int() | float() as value):
                return self._number(node, value)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return Operation(np.negative, (self.node(operand, depth + 1),))
            case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _OPERATORS:
                _, compute = _OPERATORS[type(operator)]
                return Operation(compute, (self.node(left, depth + 1), self.node(right, depth + 1)))
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                return self._call(node, name, arguments, depth)
        operators = ", ".join(sign for sign, _ in _OPERATORS.values())
        raise self._refused(
            node, f"an expression has numbers, names, {operators}, parentheses, and {', '.join(FUNCTIONS)}"
        )

    def _number(self, node: ast.expr, value: float) -> Number:
        try:
            made = float(value)
        except OverflowError:
            made = math.inf
        if not math.isfinite(made):
            raise self._refused(node, "the number is too large")
        return Number(made)

    def _call(self, node: ast.expr, name: str, arguments: list[ast.expr], depth: int) -> Operation:
        function = FUNCTIONS.get(name)
        if function is None:
            near = get_close_matches(name, FUNCTIONS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(FUNCTIONS)}"
            raise self._refused(node, f"unknown function {name!r} ({hint})")
        if not function.fewest <= len(arguments) <= (function.most or len(arguments)):
            takes = "one argument" if function.most == 1 else f"{function.fewest} arguments or more"
            raise self._refused(node, f"{name} takes {takes}, not {len(arguments)}")
        return Operation(function.compute, tuple(self.node(argument, depth + 1) for argument in arguments))
