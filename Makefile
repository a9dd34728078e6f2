# make demo    a talking video from the sample, in an environment of its own
# make test    lint, types, the Dagster definitions, all tests
# make lint    lint and types alone
# make up      the Dagster UI with the watched folder, and the file server
# make clean   remove the environment and caches; inputs, videos and run history stay
#
# PYTHON chooses the interpreter that the environment is made with: make demo PYTHON=python3.12

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help demo test lint check-definitions up clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Twice --quiet: errors alone. The version check would be a request for nothing.
PIP_INSTALL := $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check -c constraints.txt
PYTEST := $(BIN)/python -m pytest -q -m "not gpu and not soak and not browser and not chaos"
GRAPH_TESTS := s2v_pipeline_tests/defs s2v_pipeline_tests/test_up.py
RAY_TESTS := s2v_pipeline_tests/cluster
WHAT_IS_INSTALLED := pyproject.toml constraints.txt

help:
	@sed -n 's/^# \(make .*\)/\1/p' $(MAKEFILE_LIST)

demo: $(VENV)/.installed
	$(BIN)/s2v demo

# Two runs side by side: what runs the whole graph waits for processes most of its time, the rest needs one core.
# A third process for Ray's: in a process that had Ray, threads and objects of Ray's stay, and torch is tested with threads.
test: lint check-definitions
	@report=$$(mktemp); trap 'rm -f "$$report"' EXIT; \
	$(PYTEST) $(GRAPH_TESTS) >"$$report" 2>&1 & graph=$$!; \
	failed=0; $(PYTEST) $(RAY_TESTS) || failed=1; \
	$(PYTEST) s2v_pipeline_tests $(GRAPH_TESTS:%=--ignore=%) $(RAY_TESTS:%=--ignore=%) || failed=1; \
	wait "$$graph" || failed=1; echo "$(GRAPH_TESTS):"; cat "$$report"; exit "$$failed"

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# A Dagster home of its own for this one command: settings as delivered, nothing left behind.
check-definitions: $(VENV)/.installed-dev
	@home=$$(mktemp -d); trap 'rm -rf "$$home"' EXIT; cp deploy/dagster.yaml "$$home"; \
	DAGSTER_HOME="$$home" VIRTUAL_ENV="$(CURDIR)/$(VENV)" $(BIN)/dg check defs

up: $(VENV)/.installed
	$(BIN)/s2v up

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage htmlcov
	find . -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null || { \
	  echo "s2v_pipeline needs Python 3.11, 3.12 or 3.13; $(PYTHON) is $$($(PYTHON) --version 2>&1 || true)." >&2; \
	  echo "Name another one: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "$(PYTHON) could not make a virtual environment; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }

# Stamps: the second call installs nothing unless what is asked for has changed.
$(VENV)/.installed: $(WHAT_IS_INSTALLED) | $(VENV)/bin/python
	@echo "installing into $(VENV)"
	@$(PIP_INSTALL) -e .
	@touch $@

$(VENV)/.installed-dev: $(WHAT_IS_INSTALLED) | $(VENV)/bin/python
	@echo "installing into $(VENV), with what tests need"
	@$(PIP_INSTALL) -e '.[dev,wan]'
	@touch $(VENV)/.installed $@
