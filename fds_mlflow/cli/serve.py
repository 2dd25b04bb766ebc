"""`fds serve`: its options, and where a server keeps what it needs."""

from __future__ import annotations

import atexit
import secrets
import signal
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fds_mlflow.cli.aliased import AliasedOption
from fds_mlflow.cli.options import COUNT, TRUSTED, NumberRange, Settings, models_argument
from fds_mlflow.cli.output import lines
from fds_mlflow.cli.per_model import Count, Number, Range, Text
from fds_mlflow.errors import ConfigError, UnavailableError
from fds_mlflow.runtime import environment

if TYPE_CHECKING:
    from fds_mlflow.core.routing.routing import Split
    from fds_mlflow.serving.worker.settings import ServerSettings

CACHE = Path("~/.cache/fds-mlflow")
SECONDS = NumberRange(min=0, min_open=True)
MODEL_SECONDS = MODEL_AMOUNT = Range(min=0, min_open=True)


def _listed(_context: click.Context, _option: click.Parameter, given: str | None) -> tuple[str, ...]:
    return tuple(one.strip() for one in given.split(",")) if given is not None else ()


@click.command()
@models_argument
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=5001, show_default=True, type=click.IntRange(0, 65_535), help="Port; 0 for a free one.")
@click.option(
    "--workers", default=1, show_default=True, type=click.IntRange(1, 1_024), help="Processes that answer requests."
)
@click.option("--poll", default=2.0, show_default=True, type=SECONDS, help="Seconds between two reads of the aliases.")
@click.option("--key", type=Text(), default="transaction_id", show_default=True, help="Column of the routing key.")
@click.option(
    "--transaction", type=Text(), default="transaction_id", show_default=True, help="Column that labels are joined on."
)
@click.option(
    "--step-up", type=Number(), default=50.0, show_default=True, help="Risk from which a second factor is asked for."
)
@click.option(
    "--block", type=Number(), default=80.0, show_default=True, help="Risk from which a transaction is blocked."
)
@click.option(
    "--shadow",
    type=Range(0, 100),
    default=0.0,
    show_default=True,
    help="Percent of the champion's requests the canary scores.",
)
@click.option(
    "--vector-sample",
    type=Range(0, 100),
    default=0.0,
    show_default=True,
    help="Percent of the transactions whose features are kept with their outcomes.",
)
@click.option(
    "--explore",
    type=Range(0, 100),
    default=0.0,
    show_default=True,
    help="Percent of what is flagged that is let pass, so that its truth shows.",
)
@click.option("--explore-cap", type=MODEL_AMOUNT, default=None, help="Amount up to which.  [default: any]")
@click.option("--explore-column", type=Text(), default=None, help="Column of the amount.  [default: amount]")
@click.option(
    "--explore-per-day",
    type=Count(min=1),
    default=None,
    help="How many a day (UTC), of all replicas together.  [default: any number]",
)
@click.option(
    "--canary-timeout",
    cls=AliasedOption,
    old="--budget",
    type=MODEL_SECONDS,
    default=0.25,
    show_default=True,
    help="Seconds a canary without a compiled scorer may take.",
)
@click.option(
    "--champion-timeout",
    cls=AliasedOption,
    old="--patience",
    type=MODEL_SECONDS,
    default=5.0,
    show_default=True,
    help="The same for a champion.",
)
@click.option("--body-limit", type=Count(min=1), default=8 * 2**20, show_default=True, help="Bytes a request may have.")
@click.option(
    "--body-seconds",
    type=MODEL_SECONDS,
    default=10.0,
    show_default=True,
    help="Seconds it may take to arrive, and so may its head.",
)
@click.option("--row-limit", type=Count(min=1), default=10_000, show_default=True, help="Rows a request may have.")
@click.option(
    "--connections",
    type=Count(min=1),
    default=1_000,
    show_default=True,
    help="Requests a worker works on at once, of each model.",
)
@click.option(
    "--queue-seconds",
    type=MODEL_SECONDS,
    default=0.5,
    show_default=True,
    help="Seconds a request may wait for its turn; one that would wait longer is answered 503 at once.",
)
@click.option(
    "--idle-connections",
    default=4_000,
    show_default=True,
    type=COUNT,
    help="Connections a worker may have beside them; beyond, the one that has waited longest is closed.",
)
@click.option(
    "--token",
    envvar=environment.SERVE_TOKEN,
    help=f"Bearer token that requests must show; better by {environment.SERVE_TOKEN}, since arguments can be listed.",
)
@click.option(
    "--allowed-hosts",
    metavar="HOSTS",
    callback=_listed,
    help="Names that requests may ask for it by, with commas; * for any part. Loopback's always may.",
)
@click.option(
    "--allowed-origins",
    metavar="ORIGINS",
    callback=_listed,
    help="Pages of other sites that may send requests, with commas: https://ops.example.com.",
)
@click.option(
    "--webhook-secret",
    envvar=environment.SERVE_WEBHOOK_SECRET,
    help="Take MLflow's webhooks at /registry-webhook, signed with this, and read the aliases at once.",
)
@click.option(
    "--webhook-url",
    default=None,
    help="Address by which the registry reaches this server, http://10.0.0.7:5001: it is asked to send its webhooks.",
)
@click.option(
    "--allow-variant-override",
    cls=AliasedOption,
    old="--allow-pins",
    is_flag=True,
    help="Let the header X-FDS-Variant choose the variant, for tests.",
)
@click.option("--no-record", is_flag=True, help="Keep no outcomes.")
@click.option(
    "--spool-limit",
    type=Count(min=1),
    default=2**30,
    show_default=True,
    help="Bytes of outcomes that may wait for the store on disk.",
)
@click.option(
    "--prepare-seconds",
    type=MODEL_SECONDS,
    default=600.0,
    show_default=True,
    help="Seconds to fetch and check a version in.",
)
@click.option(
    "--drain",
    default=20.0,
    show_default=True,
    type=NumberRange(min=1),
    help="Seconds to finish in when told to stop.",
)
@click.option(
    "--leave-seconds",
    default=0.0,
    show_default=True,
    type=NumberRange(min=0),
    help="Seconds to answer on when told to stop, while /ping and /ready say 503: as long as a proxy needs to notice.",
)
@click.option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    envvar=environment.CACHE,
    default=CACHE,
    show_default=True,
    help="Folder for versions, the table and outcomes on their way; one server's own.",
)
@click.option(
    "--state",
    type=Text(),
    envvar=environment.STATE,
    default=None,
    help="Folder of the state that features of raw transactions are computed from; or redis://HOST/0,"
    " postgresql://USER@HOST/DATABASE, which replicas share.  [default: none]",
)
@click.option(
    "--state-timeout",
    type=MODEL_SECONDS,
    default=0.25,
    show_default=True,
    help="Seconds a raw transaction waits for the state.",
)
@click.option(
    "--state-failure",
    type=click.Choice(["degrade", "refuse"]),
    default="degrade",
    show_default=True,
    help="While the state does not answer: score as if each entity were new, marked as degraded; or answer 503.",
)
@click.option("--trust", is_flag=True, help=TRUSTED)
@click.pass_obj
def serve(settings: Settings, /, model: tuple[str, ...], **given: Any) -> None:
    """Serve MODELs over HTTP: MLflow's scoring protocol and /score, following the aliases.

    It loads what the aliases point at, splits traffic by the routing key, and swaps versions without a pause. While
    the registry is away it goes on with what it has. Outcomes go to the outcome store by way of the cache folder.

    Each model is at /models/MODEL/score and so on; one alone is at /score, too. Options with MODEL= take a value for
    all models, and others for some: --row-limit 1000,returns=50.
    """
    import mlflow

    from fds_mlflow.outcomes.database import DEFAULT_URL
    from fds_mlflow.outcomes.homes.opening import check, opened
    from fds_mlflow.serving.host.server import Options, logging_setup, run

    settings.connect()
    logging_setup()
    url = settings.outcomes or DEFAULT_URL
    asked = [f"--{name.replace('_', '-')}" for name in ("explore_per_day", "state") if given[name]]
    if not given["no_record"]:
        check(url, asked)  # an address that cannot work is said now; a store that is away is waited for
    registry = str(settings.registry_uri or mlflow.get_registry_uri())
    if given["webhook_url"] is not None and given["webhook_secret"] is None:
        given["webhook_secret"] = secrets.token_urlsafe(32)  # nobody but the registry and this server need know it
    with _webhooks(settings, given["webhook_url"], given["webhook_secret"]):
        run(
            [_server_settings(one, registry, given) for one in model],
            Options(
                given["host"],
                given["port"],
                given["workers"],
                given["poll"],
                given["drain"],
                leave_seconds=given["leave_seconds"],
                idle=given["idle_connections"],
                hosts=given["allowed_hosts"],
                origins=given["allowed_origins"],
            ),
            tracking_uri=settings.tracking_uri,
            registry_uri=settings.registry_uri,
            outcomes=None if given["no_record"] else partial(opened, url),
            ready=lambda address: lines.say(f"serving {', '.join(model)} on {address}"),
        )
    atexit.register(_hear_no_more)  # not now: whoever called this in a process of their own lives on


def _hear_no_more() -> None:
    """Ignore signals: all is done and handed over, and Python would take one for the cause of its process's end."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def _webhooks(settings: Settings, url: str | None, secret: str | None) -> AbstractContextManager[object]:
    """Has the registry send its webhooks while the server runs, where it is asked to."""
    from fds_mlflow.registry.webhooks import Subscription

    if url is None or secret is None:
        return nullcontext()
    return Subscription(url, secret, tracking_uri=settings.tracking_uri, registry_uri=settings.registry_uri)


_AS_THEY_ARE = (
    *("key", "transaction", "canary_timeout", "champion_timeout", "body_limit", "body_seconds", "row_limit"),
    *("connections", "queue_seconds", "spool_limit", "prepare_seconds", "state_timeout"),
)
"""Options for each model that a worker's settings have under the same name."""


def _server_settings(model: str, registry: str, given: dict[str, Any]) -> ServerSettings:
    from fds_mlflow.core.routing.exploration import Exploration
    from fds_mlflow.serving.worker.engine import Bands
    from fds_mlflow.serving.worker.settings import ServerSettings

    bounds = {name: (given[f"explore_{name}"] or {}).get(model) for name in ("cap", "column", "per_day")}
    return ServerSettings(
        model,
        registry,
        given["cache"].expanduser(),
        bands=Bands(given["step_up"][model], given["block"][model]),
        token=given["token"],
        webhook_secret=given["webhook_secret"],
        variant_override=given["allow_variant_override"],
        shadow=given["shadow"][model] / 100,
        explore=Exploration.of(model, given["explore"][model], **bounds, recorded=not given["no_record"]),
        sample=_sample(given["vector_sample"][model], recorded=not given["no_record"]),
        record=not given["no_record"],
        trust=given["trust"],
        state=_state(model, given["state"] or {}, waits=given["state_failure"] == "degrade"),
        state_failure=given["state_failure"],
        **{name: given[name][model] for name in _AS_THEY_ARE},
    )


def _sample(percent: float, *, recorded: bool) -> Split | None:
    """Which transactions have their features kept."""
    from fds_mlflow.serving.inputs import sample

    if percent and not recorded:
        raise ConfigError(
            "--vector-sample keeps features with outcomes, and --no-record keeps none", fix="leave one out"
        )
    return sample(percent)


def _state(model: str, given: Mapping[str, str | None], *, waits: bool) -> str | None:
    """The address of a model's state, which can be opened; or a server's that does not answer just now.

    Args:
        model: The model.
        given: The addresses of all models.
        waits: Whether transactions are answered without the state while it does not answer.
    """
    address = given.get(model)
    if address is None:
        return None
    from fds_mlflow.features.state.opening import opened

    if sum(other == address for other in given.values()) > 1:
        raise ConfigError(
            f"two models have one --state {address}", fix="give each a folder, or a ?namespace=, of its own"
        )
    try:
        opened(address).close()  # what is wrong with it is said now, not by workers
    except UnavailableError as error:
        if not waits or "://" not in address:
            raise
        lines.tell(f"{model} starts without its state: {error.what}")  # replicas start while it is down, too
    return address
