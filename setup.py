"""Every folder of Python files is a package; `plugins` is installed under a name of its own."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["fds_mlflow", "fds_mlflow.*"]), "fds_mlflow_plugins"],
    package_dir={"fds_mlflow_plugins": "plugins"},
)
