"""What the command line and `mlflow run` do with data: read, describe, cut, train, retrain."""

from fds_mlflow.data.inference import InferredSchema, infer
from fds_mlflow.workflows.preparation import cut, prepare
from fds_mlflow.workflows.profile import Profile, describe
from fds_mlflow.workflows.retraining import Retrained, retrain, train
from fds_mlflow.workflows.source import Source

__all__ = [
    "InferredSchema",
    "Profile",
    "Retrained",
    "Source",
    "cut",
    "describe",
    "infer",
    "prepare",
    "retrain",
    "train",
]
