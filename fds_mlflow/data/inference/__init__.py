"""What a schema says about a file, found from the file itself, each guess with its evidence."""

from fds_mlflow.data.inference.inference import infer
from fds_mlflow.data.inference.inferred_schema import Evidence, InferredSchema

__all__ = ["Evidence", "InferredSchema", "infer"]
