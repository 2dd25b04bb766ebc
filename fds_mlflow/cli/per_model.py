"""Options of a verb that takes several models: a value for all of them, and `,MODEL=VALUE` for each that differs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import click

from fds_mlflow.cli import options


class _PerModel(click.ParamType):  # type: ignore[type-arg] # click's newer releases alone have a parameter
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The value of each model, by its name; the verb's argument `model` has to be eager."""
        if isinstance(value, Mapping):
            return value
        models: Sequence[str] = (ctx.params.get("model") if ctx is not None else None) or ()
        # Names may have a comma or a `=`, and so may columns: only a model's whole name parts one value from the next.
        names = "|".join(re.escape(model) for model in sorted(models, key=len, reverse=True))
        parts = re.split(f",(?=(?:{names})=)", value) if isinstance(value, str) else [value]
        own: dict[str, Any] = {}
        seen: set[str] = set()
        for part in parts:
            named = re.match(f"({names})=", part) if isinstance(part, str) else None
            rest = part[named.end() :] if named is not None else part
            if len(models) > 1 and isinstance(rest, str) and re.search(",.*=" if named is not None else "=", rest):
                self.fail(f"{rest!r} names none of the models: {', '.join(models)}", param, ctx)
            if named is not None and named[1] in seen:
                self.fail(f"{named[1]!r} has two values", param, ctx)
            seen.update(() if named is None else (named[1],))
            said = super().convert(rest, param, ctx)
            own |= dict.fromkeys(models, said) if named is None else {named[1]: said}
        default = None if param is None else param.default
        return {model: own.get(model, default) for model in models}

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:  # noqa: ARG002 - click's signature
        """As of any option, and that models may follow."""
        return f"{self.name.upper()}[,MODEL=...]"


class Text(_PerModel, click.types.StringParamType):
    """A text for each model."""


class Count(_PerModel, click.IntRange):
    """A whole number for each model."""


class Number(_PerModel, options.Number):
    """A finite number for each model."""


class Range(_PerModel, options.NumberRange):
    """A finite number within bounds for each model."""
