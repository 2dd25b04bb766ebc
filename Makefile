# Two commands do all the set-up: `make demo` and `make test`. Both build .venv from the lock file.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO_DIR ?= demo-output
TEST_WORKERS ?= 2

# Trust what the machine trusts (a company's own certificate authority, say), not only uv's built-in list.
export UV_SYSTEM_CERTS ?= 1

.PHONY: help venv demo test test-all matrix check lint types contract audit lock docs site release release-check clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "fds-mlflow needs Python 3.11 or newer: make PYTHON=python3.12 venv")'
	$(PYTHON) -m venv --clear $(VENV)
	awk '/^[^ ]/ {wanted = /^uv==/} wanted' requirements.lock > $(VENV)/uv.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement $(VENV)/uv.lock
	$(BIN)/uv pip sync --quiet --require-hashes --python $(BIN)/python requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@rm -rf fds_mlflow.egg-info  # the installed metadata is in .venv; a second copy here would shadow it
	$(BIN)/python -m compileall -q -j 0 $(VENV)/lib > /dev/null || true
	@touch $@

venv: $(READY)  ## build the environment in .venv

demo: $(READY)  ## the whole story on simulated transactions; DATA=file [LABEL=column] [SCHEMA=file] for your own, ALGORITHM=module:function
	$(BIN)/fds demo --output $(DEMO_DIR) $(if $(DATA),--data "$(DATA)") $(if $(SCHEMA),--schema "$(SCHEMA)") $(if $(LABEL),--label "$(LABEL)") $(if $(ALGORITHM),--algorithm "$(ALGORITHM)")

# Bounds for every change, on two cores: `make test` 15 minutes, `pytest -m "not slow"` 3, all of .ci/run with
# `make test-all` 60. What does not fit gets the marker `campaign`, once a shorter test proves the same promise.
test: $(READY)  ## the promises, on TEST_WORKERS=2 processes; 0 for none beside the first
	$(BIN)/python -m pytest --numprocesses=$(TEST_WORKERS) --dist=loadgroup --hypothesis-profile=tested -m "not campaign"

test-all: $(READY)  ## the same with the long campaigns, and with more generated examples
	$(BIN)/python -m pytest --numprocesses=$(TEST_WORKERS) --dist=loadgroup --hypothesis-profile=campaign --durations=25

matrix: $(READY)  ## the quick tests on the oldest, a middle and the newest versions, on every Python there is
	.ci/matrix $(ROWS)

check: lint types contract  ## lint, types and the import contract

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

contract: $(READY)
	$(BIN)/lint-imports

audit: $(READY)  ## known vulnerabilities in what requirements.lock pins; says loudly what could not be checked
	$(BIN)/python .ci/audit.py

release: $(READY)  ## VERSION=x.y.z: version, changelog, wheel, bill of materials, checksums, commit and tag
	$(BIN)/python .ci/release.py "$(VERSION)"

release-check: $(READY)  ## the same with the last commit, in a clone that is thrown away
	$(BIN)/python .ci/release.py --check

lock: $(READY)  ## write requirements.lock anew from pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --extra dev \
	  --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" --output-file requirements.lock pyproject.toml

docs: $(READY)  ## write docs/cli.md anew from the command line, and the notebook from its script
	$(BIN)/python docs/generate_cli.py
	$(BIN)/jupytext --quiet --update --to ipynb examples/own_data.py

site: $(READY)  ## build the documentation into site/; fails on a broken link or an undocumented public name
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:  ## remove the environment, the site and the demo's output
	rm -rf $(VENV) .matrix $(DEMO_DIR) site
