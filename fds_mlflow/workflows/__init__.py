"""What the command line and `mlflow run` do with data and models: read, describe, cut, train, retrain, adopt,
report.
"""

from fds_mlflow.data.inference import InferredSchema, infer
from fds_mlflow.training.algorithms.own import Fit, Learned
from fds_mlflow.workflows.account import Account
from fds_mlflow.workflows.adoption.adoption import Adopted, adopt
from fds_mlflow.workflows.preparation import cut, prepare
from fds_mlflow.workflows.profile import Profile, describe
from fds_mlflow.workflows.reporting.report import Report, report
from fds_mlflow.workflows.retraining.feedback import Feedback
from fds_mlflow.workflows.retraining.retraining import Retrained, retrain, train
from fds_mlflow.workflows.retraining.staging import Policy
from fds_mlflow.workflows.source import Source

__all__ = [
    "Account",
    "Adopted",
    "Feedback",
    "Fit",
    "InferredSchema",
    "Learned",
    "Policy",
    "Profile",
    "Report",
    "Retrained",
    "Source",
    "adopt",
    "cut",
    "describe",
    "infer",
    "prepare",
    "report",
    "retrain",
    "train",
]
