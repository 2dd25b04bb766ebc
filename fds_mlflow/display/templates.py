"""How pages are made from templates: everything is escaped, and a name that is not there is an error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment


def environment(package: str, folder: str = "", **more: Any) -> Environment:
    """Templates that lie in a package.

    Args:
        package: Dotted name of the package.
        folder: Below it; "" for the package itself.
        more: What else jinja2's `Environment` takes.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader(package, folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        **more,
    )
