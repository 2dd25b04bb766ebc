"""`python -m fds_mlflow` is the command line, for environments without the installed script."""

from fds_mlflow.cli.main import main

if __name__ == "__main__":
    main()
