# Each target does all of its own set-up; `make help` lists them.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PEERS := .venv-peers
FAST_TESTS := tests/unit tests/property tests/architecture tests/golden
SERVER_TESTS := tests/contract tests/integration
# Test files run side by side: as many at a time as this machine can carry, or so many.
TEST_WORKERS ?= auto
PYTEST := $(BIN)/pytest -q --numprocesses $(TEST_WORKERS) --durations=20
DEMO_ARGS ?=
BENCH_ARGS ?=
IMPORT_LINTER := $(BIN)/lint-imports --no-logo

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(STAMP) ## install the pinned Python packages into .venv, and the servers
	@$(BIN)/python -m stack.artifacts

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "error: Python 3.11 or newer is needed; '$(PYTHON)' is not. Install it, or say PYTHON=/path/to/python3.11" >&2; exit 2; }
	@echo "installing the pinned Python packages into $(VENV) (a minute or two, once)"
	@$(PYTHON) -m venv --clear $(VENV) || \
	  { echo "error: no virtual environment could be made; on Debian: apt-get install python3-venv" >&2; exit 2; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: demo
demo: setup ## real orders and live traffic through the whole pipeline, proven equal (a few minutes)
	@$(BIN)/purser demo $(DEMO_ARGS)

.PHONY: up
up: setup ## start the local stack
	@$(BIN)/purser up

.PHONY: down
down: $(STAMP) ## stop the local stack; the data stay
	@$(BIN)/purser down

.PHONY: check
check: $(STAMP) ## format, lint, types, import contracts, unit and property tests; no servers, under a minute
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(IMPORT_LINTER)
	$(PYTEST) $(FAST_TESTS)

.PHONY: integration
integration: setup ## the tests that run real servers
	$(PYTEST) $(SERVER_TESTS)

.PHONY: test
test: setup ## every test: fast ones, real servers, and a short round of kill -9 (a quarter of an hour)
	$(PYTEST) $(FAST_TESTS) $(SERVER_TESTS) tests/chaos

.PHONY: chaos
chaos: setup ## the long round: at least 20 seeded random kill -9 under load
	$(BIN)/python -m tests.chaos $(CHAOS_ARGS)

.PHONY: soak
soak: setup ## ten minutes of live traffic with a kill -9 every 30 s: memory, lag and truth judged
	$(BIN)/python -m bench.soak $(SOAK_ARGS)

.PHONY: bench
bench: setup ## measure, print a table of ratios, write bench/results/*.json
	$(BIN)/purser bench $(BENCH_ARGS)

.PHONY: peers
peers: $(PEERS)/.installed ## install what the benchmarks run against, apart from .venv (a minute or two, once)

# Of its own: their pins and ours differ, and no test needs them.
$(PEERS)/.installed: requirements-peers.lock
	@$(PYTHON) -m venv --clear $(PEERS)
	@$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-peers.lock
	@touch $@

.PHONY: lock-peers
lock-peers: $(STAMP) ## pin the packages of the benchmarks' peers anew
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-header --no-annotate --extra peers -p 3.11 \
	  pyproject.toml -o requirements-peers.lock

.PHONY: generate
generate: $(STAMP) ## rewrite the files generated from the lifecycle tables
	$(BIN)/python -m schemas.postgres.generate
	$(BIN)/python -m docs.generate

.PHONY: lock
lock: $(STAMP) ## pin direct and transitive Python packages anew
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-header --extra dev -p 3.11 \
	  pyproject.toml -o requirements.lock
