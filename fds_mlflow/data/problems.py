"""What does not fit a schema, collected over a whole source: all of it is told at once, not one thing per run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from fds_mlflow.errors import DataError


@dataclass(frozen=True)
class Problem:
    """One kind of misfit of one column.

    Attributes:
        subject: The column and its role, for people.
        what: What is wrong with its values.
        fix: What the reader can do.
        count: How many values; None where it is the whole column.
        first: The first one and its row, in words; "" where it is the whole column.
        verb: What the column does.
    """

    subject: str
    what: str
    fix: str
    count: int | None = None
    first: str = ""
    verb: str = "holds"

    def sentence(self, where: str) -> str:
        """The problem in words, `where` being how many rows of what were read."""
        number = "" if self.count is None else f"{self.count:,} "
        return f"{self.subject} {self.verb} {number}{self.what} {where}{self.first}"


class Refused(Exception):  # noqa: N818 - it never leaves this room: `Problems` collects it
    """A column could not be converted."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.what)
        self.problem = problem


@dataclass
class Problems:
    """The problems of one source, in the order in which they were met; the same one met again adds to its count."""

    source: str
    _found: dict[tuple[str, str, str], Problem] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self._found)

    def __iter__(self) -> Iterator[Problem]:
        return iter(self._found.values())

    def add(self, problem: Problem) -> None:
        """Note a problem."""
        key = (problem.subject, problem.what, problem.fix)
        before = self._found.get(key)
        if before is None:
            self._found[key] = problem
        elif before.count is not None and problem.count is not None:
            self._found[key] = replace(before, count=before.count + problem.count)

    def raise_any(self, rows: int) -> None:
        """Raise all that was noted.

        Args:
            rows: How many rows were read.

        Raises:
            DataError: Something was noted.
        """
        where = f"in {rows:,} rows of {self.source}"
        found = list(self._found.values())
        if not found:
            return
        if len(found) == 1:
            raise DataError(found[0].sentence(where), fix=found[0].fix)
        listed = "".join(
            f"\n{number}. {problem.sentence(where)}\n   Fix: {problem.fix}" for number, problem in enumerate(found, 1)
        )
        raise DataError(f"{len(found)} things do not fit in {self.source}:{listed}", fix="do what is said under each")
