"""Options of a verb that takes several models: a value for all of them, and `MODEL=VALUE` for one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

_Given = tuple[str | None, Any]
"""A model, or None for all, and the value."""


class _PerModel(click.ParamType):  # type: ignore[type-arg] # click's newer releases alone have a parameter
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The value, and which model it is for."""
        models: Sequence[str] = ctx.params.get("models", ()) if ctx is not None else ()
        text = value if isinstance(value, str) else ""
        # Names may have a `=`, and so may columns: the longest model's name that fits is meant.
        for model in sorted(models, key=len, reverse=True):
            if text.startswith(f"{model}="):
                return model, super().convert(text[len(model) + 1 :], param, ctx)
        if "=" in text and len(models) > 1:
            self.fail(f"{text!r} names none of the models: {', '.join(models)}. Write MODEL=VALUE", param, ctx)
        return None, super().convert(value, param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:  # noqa: ARG002 - click's signature
        """As of any option, and that a model may stand before it."""
        return f"[MODEL=]{self.name.upper()}"


class Text(_PerModel, click.types.StringParamType):
    """A text for each model."""


class Count(_PerModel, click.IntRange):
    """A whole number for each model."""


class Number(_PerModel, click.types.FloatParamType):
    """A number for each model."""


class Range(_PerModel, click.FloatRange):
    """A number within bounds for each model."""


def per_model(kind: _PerModel, default: Any) -> dict[str, Any]:
    """What `click.option` is given for such an option; the verb gets the value of each model by its name.

    The verb's argument `models` has to be eager.

    Args:
        kind: Of the values.
        default: For a model that is given none.
    """

    def each(ctx: click.Context, _: click.Parameter, given: Sequence[_Given]) -> Mapping[str, Any]:
        told = dict(given)  # the last one counts, as with any option
        return {model: told.get(model, told.get(None, default)) for model in ctx.params["models"]}

    return {"type": kind, "default": (default,), "show_default": True, "multiple": True, "callback": each}
