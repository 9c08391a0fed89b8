# Everything here sets itself up. The machine needs Python 3.11 or newer, make, git and a C library; what else is
# needed (Go, kubectl, the control plane) is fetched or built when it is first used, and kept.

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

# The first Python on PATH that is new enough; `make PYTHON=…` names another.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
BIN := .venv/bin
JOBS ?= 2
AUTO ?=

# kubectl's wheel is in the virtual environment; one that is on PATH already comes first.
export PATH := $(PATH):$(CURDIR)/$(BIN)

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

.venv/installed: requirements/dev.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or newer on PATH" >&2; exit 1; }
	@echo "setting up .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv .venv || { echo "error: on Debian and Ubuntu, apt install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

setup: .venv/installed ## the virtual environment, from locked and hashed packages

controlplane: .venv/installed ## build the local control plane, unless it is in the cache
	@$(BIN)/python -m gitops_rollouts.local.build

programs: .venv/installed ## build what only tests run, unless it is in the cache
	@PYTHONPATH=tests $(BIN)/python -m programs

lint: .venv/installed ## style, types, and which part may import which
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint controlplane programs ## what CI runs
	$(BIN)/pytest -m "not long" -n $(JOBS) --dist worksteal

test-long: lint controlplane programs ## all tests, the long ones too
	$(BIN)/pytest -n $(JOBS) --dist worksteal

demo: controlplane ## try it on this machine; AUTO=1 plays the whole story by itself
	@$(BIN)/gor demo $(if $(AUTO),--auto)

bench: controlplane ## measure, and print the figures
	$(BIN)/python -m bench

crds: .venv/installed ## write deploy/crds from the models
	$(BIN)/python -m gitops_rollouts.api.crd deploy/crds

clean: ## remove what these targets made in this folder (the control plane stays in the user's cache)
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help setup controlplane programs lint test test-long demo bench crds clean
