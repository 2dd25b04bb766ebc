"""An option that is still understood by the name it had."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click


class AliasedOption(click.Option):
    """An option that is still understood by the name it had in the last release, which no help shows.

    Args:
        old: That name.
    """

    def __init__(self, *args: Any, old: str, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self._old = old
        self.opts.append(old)

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """As for any option, without the old name."""
        with self._as_shown():
            return super().get_help_record(ctx)

    def get_error_hint(self, ctx: click.Context | None) -> str:
        """As for any option, without the old name."""
        with self._as_shown():
            return super().get_error_hint(ctx)

    @contextmanager
    def _as_shown(self) -> Iterator[None]:
        self.opts.remove(self._old)
        try:
            yield
        finally:
            self.opts.append(self._old)
