"""What `deploy/` holds fits the program: command lines, paths, variables, times and folders. Linters pass it."""

from __future__ import annotations

import ast
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from fds_mlflow.cli.main import main
from fds_mlflow.features.state import redis_store
from fds_mlflow.outcomes.database import parse
from fds_mlflow.runtime import environment
from fds_mlflow.serving.host.server import HTTP
from fds_mlflow.serving.http.endpoints import PROBES
from fds_mlflow.serving.http.models import Models
from fds_mlflow.serving.worker.settings import ServerSettings
from tests.support.places import ROOT

DEPLOY = ROOT / "deploy"
DOCKERFILE = DEPLOY / "Dockerfile"
COMPOSE = DEPLOY / "compose" / "compose.yaml"
HAPROXY = DEPLOY / "compose" / "haproxy.cfg"
UNIT = DEPLOY / "systemd" / "fds-serve.service"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
MONITOR = DEPLOY / "kubernetes" / "monitoring" / "servicemonitor.yaml"
PAGE = ROOT / "docs" / "deployment.md"

TO_END = 5
"""Seconds that a server is given to end in after `--leave-seconds` and `--drain`."""

OTHERS = {"PATH", "POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD"}
"""Variables of the image and of PostgreSQL's."""


def instructions(name: str) -> list[str]:
    """What follows each instruction of that name in the Dockerfile, its lines joined."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return re.findall(rf"^{name} +(.+)$", text, re.MULTILINE)


@cache
def compose() -> Mapping[str, Any]:
    """The services of the Compose file."""
    services: Mapping[str, Any] = yaml.safe_load(COMPOSE.read_text())["services"]
    return services


def replicas() -> Mapping[str, Any]:
    """Those that serve scores."""
    return {name: one for name, one in compose().items() if one["image"] == "fds-mlflow" and "entrypoint" not in one}


def unit(name: str) -> list[str]:
    """What a key of the unit says, each time."""
    return re.findall(rf"^{name}=(.+)$", UNIT.read_text(), re.MULTILINE)


@cache
def manifest(kind: str) -> Any:
    """The manifest of a kind."""
    found = [yaml.safe_load(path.read_text()) for path in [*MANIFESTS, MONITOR]]
    (one,) = [each for each in found if each["kind"] == kind]
    return one


def pod() -> Any:
    """What the Deployment makes."""
    return manifest("Deployment")["spec"]["template"]


def container() -> Any:
    """The container in it."""
    (one,) = pod()["spec"]["containers"]
    return one


def seconds(text: str) -> int:
    """A time of Compose, Docker or HAProxy."""
    assert text.endswith("s")
    return int(text.removesuffix("s"))


COMMANDS = {
    "Dockerfile": ast.literal_eval(instructions("CMD")[-1]),
    **{f"compose.yaml: {name}": one["command"] for name, one in replicas().items()},
    "fds-serve.service": shlex.split(unit("ExecStart")[0])[1:],
    "deployment.yaml": container()["args"],
}
"""The words that follow `fds` in each file."""


def served(words: list[str]) -> dict[str, Any]:
    """The options of a `fds serve`, as it understands them itself."""
    command = main.commands["serve"]
    assert words[0] == "serve"
    options: dict[str, Any] = command.make_context("serve", list(words[1:])).params
    return options


@pytest.mark.parametrize("file", COMMANDS)
def test_every_command_line_is_taken(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the files start, the program understands; it can be reached from other machines, at the one port."""
    for name in (environment.STATE, environment.CACHE, environment.SERVE_TOKEN):
        monkeypatch.delenv(name, raising=False)
    options = served(COMMANDS[file])
    assert (options["model"], options["host"], options["port"]) == (("fraud",), "0.0.0.0", 5001)
    assert options["token"] is None, "arguments can be listed"


def test_the_page_gives_commands_that_are_taken() -> None:
    """What the page has run in a replica, the program understands; each file that it names in a command is there."""
    text = PAGE.read_text()
    inside = re.findall(r"^docker compose .* exec (\S+) fds (.+)$", text, re.MULTILINE)
    assert len(inside) == 2
    for name, line in inside:
        assert name in replicas()
        verb, *words = shlex.split(line)
        main.commands[verb].make_context(verb, words)
    named = set(re.findall(r"\bdeploy/[\w./-]+", text)) - {"deploy/compose/.env"}
    assert {name for name in named if not (ROOT / name).exists()} == set()


def test_the_image_starts_the_program() -> None:
    """What is given to the image are arguments of `fds`, which lies where it is looked for."""
    assert instructions("ENTRYPOINT") == ['["fds"]']
    assert unit("ExecStart")[0].split()[0] == "/opt/fds/bin/fds"
    assert "/opt/fds/bin:" in " ".join(instructions("ENV"))


def test_mlflow_takes_its_command_line() -> None:
    """The MLflow server of the Compose file starts, and lets itself be asked by the name that the replicas use."""
    from mlflow.cli import cli

    one = compose()["mlflow"]
    assert one["entrypoint"] == ["mlflow"]
    command, *words = one["command"]
    group = cli.commands[command]
    options = group.make_context(command, words).params
    for replica in replicas().values():
        address = replica["environment"]["MLFLOW_TRACKING_URI"]
        assert address.removeprefix("http://") in options["allowed_hosts"].split(",")
    assert options["port"] == 5000


def variables() -> Iterator[tuple[str, str]]:
    """File and name of each variable that a file sets."""
    for words in instructions("ENV"):
        yield from (("Dockerfile", word.partition("=")[0]) for word in words.split())
    for name, one in compose().items():
        yield from ((f"compose.yaml: {name}", each) for each in one.get("environment", {}))
    yield from (("fds-serve.service", one.partition("=")[0]) for one in unit("Environment"))
    for path in (DEPLOY / "systemd" / "serve.env", DEPLOY / "compose" / "example.env"):
        yield from ((path.name, each) for each in re.findall(r"^#?([A-Z_]+)=", path.read_text(), re.MULTILINE))
    yield from (("configmap.yaml", name) for name in manifest("ConfigMap")["data"])
    yield from (("deployment.yaml", one["name"]) for one in container()["env"])


def test_every_variable_is_read_by_somebody() -> None:
    """No file sets a variable that neither this package, nor MLflow, nor PostgreSQL's image knows."""
    import mlflow.environment_variables as of_mlflow
    from mlflow.cli import cli

    ours = {value for value in vars(environment).values() if isinstance(value, str) and value.startswith("FDS_")}
    options = {option.envvar for option in cli.commands["server"].params if isinstance(option.envvar, str)}
    found = list(variables())
    assert {file for file, _ in found} >= {
        "Dockerfile",
        "serve.env",
        "example.env",
        "configmap.yaml",
        "deployment.yaml",
    }
    unknown = {
        (file, name)
        for file, name in found
        if name not in ours | options | OTHERS and not (name.startswith("MLFLOW_") and hasattr(of_mlflow, name))
    }
    assert unknown == set()


def test_compose_asks_for_what_its_example_has() -> None:
    """Whoever fills in the example has everything that the Compose file asks for."""
    example = re.findall(r"^([A-Z_]+)=", (DEPLOY / "compose" / "example.env").read_text(), re.MULTILINE)
    assert set(re.findall(r"\$\{(\w+)", COMPOSE.read_text())) == set(example)


def test_every_address_is_one_that_is_taken() -> None:
    """The outcome store's addresses and the state's are of kinds that there are, and each model has its namespace."""
    text = (DEPLOY / "systemd" / "serve.env").read_text()
    example = dict(re.findall(r"^#?([A-Z_]+)=(.+)$", text, re.MULTILINE))
    for one in [example, *(replica["environment"] for replica in replicas().values())]:
        assert parse(re.sub(r"\$\{.*?\}", "secret", one["FDS_OUTCOMES_URI"])).get_backend_name() == "postgresql"
        scheme, _, rest = one["FDS_STATE"].partition("://")
        assert scheme in redis_store.SCHEMES
        assert rest.endswith("?namespace=fraud")


def asked() -> dict[str, str]:
    """The path that each file asks to tell whether the server is well."""
    inside = r"(?:5001|GET)[^/]*(/[a-z]+)"
    found = {"Dockerfile": re.findall(inside, instructions("HEALTHCHECK")[0])[0]}
    found["haproxy.cfg"] = re.findall(r"^ *option httpchk GET (\S+)$", HAPROXY.read_text(), re.MULTILINE)[0]
    for probe in ("livenessProbe", "startupProbe"):
        found[probe] = re.findall(r'"GET", "(\S+)"', container()[probe]["exec"]["command"][-1])[0]
    found["readinessProbe"] = container()["readinessProbe"]["httpGet"]["path"]
    return found


def test_every_probe_asks_what_is_always_answered(tmp_path: Path) -> None:
    """Who watches a server asks a path that it has, needs no token, and answers however much there is to do."""
    server = Models([ServerSettings("fraud", "sqlite://", tmp_path, token="secret")])
    assert {path: server.answers(path) for path in asked().values()} == dict.fromkeys(asked().values(), True)
    assert set(asked().values()) <= set(PROBES)
    (scraped,) = manifest("ServiceMonitor")["spec"]["endpoints"]
    denied = re.findall(r"\{ path (\S+) \}", HAPROXY.read_text())
    assert server.answers(scraped["path"])
    assert set(denied) == {scraped["path"], "/registry-webhook"}


@pytest.mark.parametrize("probe", ["livenessProbe", "startupProbe"])
def test_who_answers_lives(probe: str) -> None:
    """A server that has nothing to serve is not started again for that; one that does not answer is."""
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    class NothingToServe(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(503)
            self.end_headers()

    _, *options = container()[probe]["exec"]["command"]
    with HTTPServer(("127.0.0.1", 0), NothingToServe) as server:
        Thread(target=server.handle_request, daemon=True).start()
        words = [word.replace("5001", str(server.server_port)) for word in options]
        assert subprocess.run([sys.executable, *words], check=False).returncode == 0
    assert subprocess.run([sys.executable, *words], check=False, stderr=subprocess.DEVNULL).returncode != 0


def test_all_agree_on_the_port() -> None:
    """Whoever leads to the server leads to where it listens."""
    assert instructions("EXPOSE") == ["5001"]
    (port,) = container()["ports"]
    assert port == {"name": "http", "containerPort": 5001}
    assert container()["readinessProbe"]["httpGet"]["port"] == port["name"]
    (service,) = manifest("Service")["spec"]["ports"]
    assert service["targetPort"] == port["name"]
    assert manifest("ServiceMonitor")["spec"]["endpoints"][0]["port"] == service["name"]
    behind = re.findall(r"^ *server (\S+) (\S+):5001$", HAPROXY.read_text(), re.MULTILINE)
    assert {name for name, _ in behind} == {address for _, address in behind} == set(replicas())
    assert len(behind) == 3


def test_a_server_is_left_the_time_to_finish() -> None:
    """Nobody kills a server before it has answered what it accepted, and handed its outcomes over."""
    told = {file: served(words) for file, words in COMMANDS.items()}
    drain = {file: one["leave_seconds"] + one["drain"] + TO_END for file, one in told.items()}
    for name, one in replicas().items():
        assert seconds(one["stop_grace_period"]) >= drain[f"compose.yaml: {name}"]
    assert int(unit("TimeoutStopSec")[0]) >= drain["fds-serve.service"]
    assert unit("KillMode") == ["mixed"]
    assert pod()["spec"]["terminationGracePeriodSeconds"] >= drain["deployment.yaml"]


def test_a_server_leaves_no_sooner_than_those_notice_who_ask_it() -> None:
    """Once it is told to stop it answers for longer than its proxy, or the cluster, takes to find that out."""
    found = dict(re.findall(r"(inter|fall|timeout check) (\d+)", HAPROXY.read_text()))
    noticed = int(found["fall"]) * (int(found["inter"]) + int(found["timeout check"]))
    for name in replicas():
        assert served(COMMANDS[f"compose.yaml: {name}"])["leave_seconds"] > noticed
    probe = container()["readinessProbe"]
    noticed = probe["failureThreshold"] * (probe["periodSeconds"] + probe["timeoutSeconds"])
    assert served(COMMANDS["deployment.yaml"])["leave_seconds"] > noticed


def test_a_first_start_is_waited_for() -> None:
    """Nobody takes a server for dead that fetches and checks its first version."""
    limit = {file: served(words)["prepare_seconds"]["fraud"] for file, words in COMMANDS.items()}
    (start,) = re.findall(r"--start-period=(\S+)", instructions("HEALTHCHECK")[0])
    assert seconds(start) >= limit["Dockerfile"]
    probe = container()["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= limit["deployment.yaml"]
    assert manifest("Deployment")["spec"]["progressDeadlineSeconds"] >= limit["deployment.yaml"]


def test_a_proxy_gives_up_an_idle_connection_before_the_server_does() -> None:
    """No request is sent over a connection that the server is just ending for want of one; and none is cut short."""
    (idle,) = re.findall(r"^ *timeout http-keep-alive (\S+)$", HAPROXY.read_text(), re.MULTILINE)
    assert seconds(idle) < HTTP["timeout_keep_alive"]
    (longest,) = re.findall(r"^ *timeout server (\S+)$", HAPROXY.read_text(), re.MULTILINE)
    options = served(COMMANDS["deployment.yaml"])
    waited = ("body_seconds", "queue_seconds", "champion_timeout")
    assert seconds(longest) > sum(options[name]["fraud"] for name in waited)


def test_each_replica_keeps_its_cache_where_it_may_write() -> None:
    """The cache is on a disk, one replica's own, the server's alone, and has room for the outcomes that may wait."""
    (inside,) = [word.partition("=")[2] for word in instructions("ENV")[0].split() if word.startswith("FDS_CACHE=")]
    volumes = [one["volumes"] for one in replicas().values()]
    assert all(each == [f"cache-{number}:{inside}"] for number, each in enumerate(volumes, 1))
    (folder,) = unit("StateDirectory")
    assert unit("Environment") == [f"FDS_CACHE=/var/lib/{folder}/cache"]
    assert unit("WorkingDirectory") == [f"/var/lib/{folder}"]
    own = {one["name"]: one["mountPath"] for one in container()["volumeMounts"]}
    (cache_folder,) = [one["value"] for one in container()["env"] if one["name"] == environment.CACHE]
    assert Path(own["cache"]) in Path(cache_folder).parents, "whoever mounts a folder owns it, and the server does not"
    (room,) = [one["emptyDir"]["sizeLimit"] for one in pod()["spec"]["volumes"] if one["name"] == "cache"]
    assert int(room.removesuffix("Gi")) * 2**30 >= 2 * served(COMMANDS["deployment.yaml"])["spool_limit"]["fraud"]


def test_the_manifests_select_the_same_pods() -> None:
    """All manifests mean the pods of the Deployment, of which a new one serves before an old one goes."""
    spec, labels = manifest("Deployment")["spec"], pod()["metadata"]["labels"]
    assert spec["selector"]["matchLabels"] == manifest("Service")["spec"]["selector"] == labels
    assert manifest("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    assert manifest("ServiceMonitor")["spec"]["selector"]["matchLabels"] == manifest("Service")["metadata"]["labels"]
    spread = pod()["spec"]["topologySpreadConstraints"]
    assert [one["labelSelector"]["matchLabels"] for one in spread] == [labels] * len(spread)
    assert spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert spec["replicas"] > manifest("PodDisruptionBudget")["spec"]["maxUnavailable"]
    configs = [one["configMapRef"]["name"] for one in container()["envFrom"]]
    assert configs == [manifest("ConfigMap")["metadata"]["name"]]


def test_the_page_makes_the_secret_that_the_manifests_name() -> None:
    """No secret lies in a manifest; the command on the page makes all that are needed."""
    named = [one["valueFrom"]["secretKeyRef"] for one in container()["env"] if "valueFrom" in one]
    named += [one["authorization"]["credentials"] for one in manifest("ServiceMonitor")["spec"]["endpoints"]]
    (command,) = re.findall(
        r"kubectl create secret generic (.+?)\n```", PAGE.read_text().replace("\\\n", ""), re.DOTALL
    )
    assert {one["name"] for one in named} == {command.split()[0]}
    assert {one["key"] for one in named if not one.get("optional")} <= set(re.findall(r"literal=(\w+)=", command))


def test_the_image_is_made_of_what_is_there() -> None:
    """Whatever is copied into the image is there, and sent; it is nobody's but the server's user, who is not root."""
    sent = [line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = [word for words in instructions("COPY") if "--from" not in words for word in words.split()[:-1]]
    assert sorted(copied) == sorted(sent)
    assert [name for name in copied if not (ROOT / name).exists()] == []
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(re.findall(r"--extra (\w+)", DOCKERFILE.read_text())) == {"online", "postgresql", "redis"} <= set(extras)
    assert instructions("USER") == ["10001"] == [str(pod()["spec"]["securityContext"]["runAsUser"])]
    assert "useradd --uid 10001" in DOCKERFILE.read_text()


def test_no_image_names_a_registry() -> None:
    """Images come from wherever the machine gets its own: the files name no host."""
    images = [one["image"] for one in [*compose().values(), container()]]
    images += [words.split()[0] for words in instructions("FROM")]
    assert [image for image in images if "/" in image] == []
    assert {words.split()[0] for words in instructions("FROM")} == {"python:3.13-slim"}


# --- linters, where they are installed ---------------------------------------------------------------------


def program(name: str) -> str:
    """A program of this environment or of the machine."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def passes(*words: str | Path) -> None:
    """A linter has nothing to say."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Unknown key" not in done.stderr, done.stderr  # systemd only warns of them


def test_hadolint_passes_the_dockerfile() -> None:
    """The Dockerfile follows the rules of its trade."""
    passes(program("hadolint"), DOCKERFILE)


@pytest.mark.parametrize("version", ["1.30", "newest"])
@pytest.mark.parametrize("path", [pytest.param(path, id=path.name) for path in MANIFESTS])
def test_kubernetes_takes_the_manifests(path: Path, version: str) -> None:
    """Each field is one that Kubernetes has, of its type; of the release of 2024, and of the newest that is known."""
    validator = pytest.importorskip("kubernetes_validate")
    version = validator.latest_version() if version == "newest" else version
    assert validator.validate(yaml.safe_load(path.read_text()), version, strict=True)


def test_compose_takes_its_file() -> None:
    """The Compose file has the form that its specification gives it."""
    pytest.importorskip("check_jsonschema")
    passes(sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE)


def test_haproxy_takes_its_configuration() -> None:
    """HAProxy starts with it, also where no replica is there yet."""
    passes(program("haproxy"), "-c", "-f", HAPROXY)


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    """The unit has keys that systemd knows, and the service can reach little that it does not need."""
    analyze = program("systemd-analyze")
    unit_here = tmp_path / UNIT.name  # the program need not be installed
    unit_here.write_text(UNIT.read_text().replace("/opt/fds/bin/fds", sys.executable))
    passes(analyze, "verify", "--man=no", unit_here)
    passes(analyze, "security", "--offline=true", "--threshold=20", "--no-pager", unit_here)
