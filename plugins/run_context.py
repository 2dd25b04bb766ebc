"""MLflow run context: tags this project's runs with what makes them reproducible, and no one else's."""

from __future__ import annotations

import os
import sys

_FACTS = "fds_mlflow.training.reproducibility"


class ReproducibilityContext:
    """Tags training runs with data digest, schema, git commit and dirtiness, lock file and package version.

    Registered under ``mlflow.run_context_provider``, so MLflow asks it at every ``start_run`` of every
    project in the same environment: it answers only inside
    :func:`fds_mlflow.training.reproducibility.run_facts`, or where the environment variable
    ``FDS_RUN_CONTEXT`` hands the facts over, and is silent when anything goes wrong.

    It has the two methods of MLflow's ``RunContextProvider`` without deriving from it: whoever imported this
    module before MLflow would otherwise start MLflow's import, which looks for this class before it exists.
    """

    def in_context(self) -> bool:
        """Whether the run being started is one of this project's."""
        if _FACTS not in sys.modules and "FDS_RUN_CONTEXT" not in os.environ:
            return False  # nobody here has trained with this package: do not even import it
        from fds_mlflow.training.reproducibility import current_facts

        return current_facts() is not None

    def tags(self) -> dict[str, str]:
        """The facts handed over and those of the code; what cannot be found out is left out."""
        from fds_mlflow.training.reproducibility import code_tags, current_facts

        try:
            code = code_tags()
        except OSError:  # the working directory is gone, the lock file unreadable: not worth a warning
            code = {}
        return {**code, **(current_facts() or {})}
