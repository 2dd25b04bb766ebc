"""What else serves an MLflow model: MLflow's own server, MLServer and BentoML, each the way its manual says.

MLflow's server runs from this environment. The other two get environments of their own, made once in a cache folder,
because they pin what this project does not: where they cannot be installed they are left out, and it is said why.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from benchmarks.serving.model import Model
from benchmarks.serving.process import Server, free_port

OTHERS = Path("~/.cache/fds-mlflow/benchmarks").expanduser()
_INSTALL_LIMIT = 1_200

_SERVICE = """
from __future__ import annotations
import bentoml
import lightgbm
import numpy as np

@bentoml.service(workers=1)
class Fraud:
    def __init__(self) -> None:
        self.booster = lightgbm.Booster(model_file={path!r})

    @bentoml.api
    def score(self, rows: np.ndarray) -> np.ndarray:
        return self.booster.predict(rows, num_threads=1)
"""


class NotInstalledError(RuntimeError):
    """A server cannot be compared with here, and why."""


def mlflow_models_serve(folder: Path, model: Path, name: str) -> Server:
    """`mlflow models serve`, one worker, from this environment.

    Args:
        folder: Where it works.
        model: MLflow's folder of the model.
        name: What it is called.
    """
    port = free_port()
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "mlflow",
        "models",
        "serve",
        "--model-uri",
        model,
        "--env-manager",
        "local",
    ]
    command += ["--port", str(port), "--workers", "1"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # it looks for uvicorn there
    return Server(name, command, port, folder, environment={"PATH": path})


def mlserver(folder: Path, model: Model, others: Path) -> Server:
    """MLServer with MLflow's runtime, one inference worker: what `mlflow models serve --enable-mlserver` starts.

    Raises:
        NotInstalledError: It is not installed and cannot be.
    """
    # Its workers ask uvloop for a loop that newer releases no longer make.
    packages = ("mlserver", "mlserver-mlflow", "uvloop<0.22", *(f"{n}=={version(n)}" for n in ("mlflow", "lightgbm")))
    binaries = installed(others / "mlserver", packages, "mlserver")
    port, grpc, metrics = free_port(), free_port(), free_port()
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"debug": False, "host": "127.0.0.1", "http_port": port, "grpc_port": grpc, "metrics_port": metrics}
    settings |= {"parallel_workers": 1}
    described = {
        "name": "fraud",
        "implementation": "mlserver_mlflow.MLflowRuntime",
        "parameters": {"uri": str(model.signed)},
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps(described))
    return Server("MLServer", [binaries / "mlserver", "start", folder], port, folder, ready="/v2/models/fraud/ready")


def bentoml(folder: Path, model: Model, others: Path) -> Server:
    """BentoML around the Booster, one worker.

    Raises:
        NotInstalledError: It is not installed and cannot be.
    """
    binaries = installed(others / "bentoml", ("bentoml", f"lightgbm=={version('lightgbm')}"), "bentoml")
    port = free_port()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "service.py").write_text(_SERVICE.format(path=str(model.booster)))
    path = f"{binaries}{os.pathsep}{os.environ['PATH']}"
    environment = {"PATH": path, "BENTOML_HOME": str(folder / "home"), "BENTOML_DO_NOT_TRACK": "True"}
    command: list[str | Path] = [
        binaries / "bentoml",
        "serve",
        "service:Fraud",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    return Server("BentoML", command, port, folder, ready="/readyz", environment=environment)


def installed(folder: Path, packages: Sequence[str], program: str) -> Path:
    """The folder of an environment's programs; made on first use.

    Raises:
        NotInstalledError: It cannot be made.
    """
    binaries = folder / "bin"
    if (binaries / program).is_file():
        return binaries
    try:
        venv.create(folder, with_pip=True, clear=True)
        command: list[str | Path] = [binaries / "python", "-m", "pip", "install", "--quiet", *packages]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=_INSTALL_LIMIT)
    except (subprocess.SubprocessError, OSError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        said = getattr(error, "stderr", None) or str(error)
        last = (said.strip().splitlines() or ["no word"])[-1]
        raise NotInstalledError(f"{program} could not be installed: {last[:200]}") from error
    return binaries
