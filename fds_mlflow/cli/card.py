"""The verb of model cards."""

from __future__ import annotations

from pathlib import Path

import click

from fds_mlflow.cli.options import Settings, as_json_option, model_argument, show_value, version_argument


@click.command()
@model_argument
@version_argument
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    default=None,
    help="File to write: .html, .pdf, .md or .json; Markdown on the terminal if not given.",
)
@as_json_option
@click.pass_obj
def card(settings: Settings, model: str, version: int, output: Path | None, as_json: bool) -> None:
    """The model card of VERSION: data, figures with intervals, segments, calibration, limits, who approved it.

    HTML and PDF hold all that they show, for model-risk review.
    """
    from fds_mlflow.display.document import markdown
    from fds_mlflow.errors import ConfigError
    from fds_mlflow.training.card.card import document
    from fds_mlflow.workflows import card as cards

    if output is not None and output.suffix.lower() not in cards.FORMATS:
        raise ConfigError(
            f"{output} ends in none of {', '.join(cards.FORMATS)}", fix="name it card.html, card.pdf or card.md"
        )
    made = cards.card(settings.model(model), version, pictures=output is not None)
    if output is None:
        show_value(as_json, made.facts, lambda: markdown(document(made)))
        return
    cards.written(made, output)
    value = {"model": model, "version": version, "file": str(output)}
    show_value(as_json, value, lambda: f"The card of version {version} of {model} is in {output}")
