"""The command line: each file a noun; each verb parses, calls and prints."""

from fds_mlflow.cli.main import main

__all__ = ["main"]
