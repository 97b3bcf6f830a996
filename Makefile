# Each target installs what it needs; `make help` lists the targets.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PEERS := .venv-peers
FAST_TESTS := tests/unit tests/property tests/architecture tests/golden
SERVER_TESTS := tests/contract tests/integration tests/chaos
ALL_TESTS := $(FAST_TESTS) $(SERVER_TESTS)
# Number of test files that run in parallel; auto: as many as this machine can handle.
TEST_WORKERS ?= auto
PYTEST_ARGS := -q --numprocesses $(TEST_WORKERS) --durations=20
PYTEST := $(BIN)/pytest $(PYTEST_ARGS)
# Tests without servers never wait: one for each core.
FAST_ARGS := -q --numprocesses logical
COVERAGE := build/coverage
# The level reached, in percent of statements and branches; only ever raised.
COVERAGE_MIN := 62
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
	  { echo "error: Python 3.11 or newer is needed; '$(PYTHON)' is not. Install it, or set PYTHON=/path/to/python3.11" >&2; exit 2; }
	@echo "installing the pinned Python packages into $(VENV) (a minute or two, once)"
	@$(PYTHON) -m venv --clear $(VENV) || \
	  { echo "error: cannot create a virtual environment; on Debian: apt-get install python3-venv" >&2; exit 2; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: demo
demo: setup ## send real orders and live traffic through the whole pipeline and verify it (a few minutes)
	@$(BIN)/purser demo $(DEMO_ARGS)

.PHONY: up
up: setup ## start the local stack
	@$(BIN)/purser up

.PHONY: down
down: $(STAMP) ## stop the local stack; the data are kept
	@$(BIN)/purser down

.PHONY: check
check: lint ## run format, lint, types, import contracts, unit and property tests; no servers, one to two minutes
	$(BIN)/pytest $(FAST_ARGS) $(FAST_TESTS)

.PHONY: lint
lint: $(STAMP) ## check format, lint, types and import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(IMPORT_LINTER)

.PHONY: integration
integration: setup ## run the tests that need real servers, with a short round of kill -9
	$(PYTEST) $(SERVER_TESTS)

.PHONY: test
test: setup ## run every test, with real servers and a short round of kill -9 (15 to 30 minutes)
	$(PYTEST) $(ALL_TESTS)

# What runs only beside servers is in `make coverage-all`, which slows the servers' tests too much to
# be a gate: its figures are for reading.
.PHONY: coverage
coverage: $(STAMP) ## measure line and branch coverage of the tests that need no servers; fails below COVERAGE_MIN
	@rm -rf $(COVERAGE) && mkdir -p $(COVERAGE)
	$(BIN)/coverage run -m pytest $(FAST_ARGS) $(FAST_TESTS)
	@$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --fail-under=$(COVERAGE_MIN)

.PHONY: coverage-all
coverage-all: setup ## measure what all tests run, servers included, and list the lines that none does
	@rm -rf $(COVERAGE) && mkdir -p $(COVERAGE)
	$(BIN)/coverage run -m pytest $(PYTEST_ARGS) $(ALL_TESTS)
	@$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

.PHONY: chaos
chaos: setup ## run the two long chaos rounds: seeded random kill -9 under load (CHAOS_ARGS, CHAOS_PAYINS_ARGS="--kills 300")
	$(BIN)/python -m tests.chaos $(CHAOS_ARGS)
	$(BIN)/python -m tests.chaos.payins $(CHAOS_PAYINS_ARGS)

.PHONY: soak
soak: setup ## run ten minutes of live traffic with a kill -9 every 30 s; checks memory, lag and equality
	$(BIN)/python -m bench.soak $(SOAK_ARGS)

.PHONY: bench
bench: setup ## run the benchmarks, print a table of ratios, write bench/results/*.json
	$(BIN)/purser bench $(BENCH_ARGS)

.PHONY: peers
peers: $(PEERS)/.installed ## install the benchmarks' peers into a separate environment (a minute or two, once)

# A separate environment: their pins differ from ours, and no test needs them.
$(PEERS)/.installed: requirements-peers.lock
	@$(PYTHON) -m venv --clear $(PEERS)
	@$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-peers.lock
	@touch $@

.PHONY: lock-peers
lock-peers: $(STAMP) ## update the pinned packages of the benchmarks' peers
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-header --no-annotate --extra peers -p 3.11 \
	  pyproject.toml -o requirements-peers.lock

.PHONY: generate
generate: $(STAMP) ## regenerate the files that are generated from the tables in schemas/
	$(BIN)/python -m schemas.generate_currencies
	$(BIN)/python -m schemas.postgres.generate
	$(BIN)/python -m schemas.clickhouse.generate
	$(BIN)/python -m docs.generate

.PHONY: lock
lock: $(STAMP) ## update the pinned direct and transitive Python packages
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-header --extra dev -p 3.11 \
	  pyproject.toml -o requirements.lock
