"""What the command line and `mlflow run` do with data: read, cut, train, retrain."""

from fds_mlflow.workflows.preparation import cut, prepare
from fds_mlflow.workflows.retraining import Retrained, retrain, train
from fds_mlflow.workflows.source import Source

__all__ = ["Retrained", "Source", "cut", "prepare", "retrain", "train"]
