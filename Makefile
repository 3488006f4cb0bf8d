# The tasks of the repository. Everything runs from .venv, which `make setup` fills from the lock files.
PYTHON ?= python3
WORKERS ?= 2
BIN := .venv/bin
STAMP := .venv/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check install -qq --require-virtualenv

.PHONY: setup demo tour check test faults bench docs format lock clean help

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  \1\t/' | expand -t 12

setup: $(STAMP) ## install everything, locked by hashes, into .venv

$(STAMP): pyproject.toml requirements/dev.txt requirements/flights.txt
	@test -x $(BIN)/python || $(PYTHON) scripts/venv.py
	@echo "installing the locked packages (about a minute)"
	@$(PIP) --require-hashes -r requirements/dev.txt
	@$(PIP) --require-hashes --no-deps --no-build-isolation -r requirements/flights.txt
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

demo: setup ## a year of real flights on a server: predict, watch, retrain, judge, roll out and back; ends with a page
	@$(BIN)/python -m examples.flights.year build/flights

tour: setup ## the short way, alone in a folder: add, refuse, judge, promote, roll back, prove
	@$(BIN)/python examples/flights/tour/demo.py build/tour

check: setup ## format, lint, strict types, import contracts, the tree
	@$(BIN)/ruff format --quiet --check --output-format concise .
	@$(BIN)/ruff check --quiet --output-format concise .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python -m scripts.tree
	@$(BIN)/python -m scripts.links

test: setup ## every test; SEED=… makes the same random choices again
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(if $(SEED),--seed $(SEED))

faults: setup ## kill -9 through a short year, KILLS=100 times and more by SEED=…; ends with a table
	@$(BIN)/python -m tests.faults.year --kills $(or $(KILLS),100) $(if $(SEED),--seed $(SEED))

bench: setup ## the bars of speed, each beside its bare limit
	@$(BIN)/python -m benchmarks

docs: setup ## the links of the documentation, and the pages that are tests
	@$(BIN)/python -m scripts.links
	@if [ -d tests/docs ]; then $(BIN)/python -m pytest tests/docs; fi

format: setup ## rewrite the files as `make check` wants them
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format --quiet .

lock: setup ## resolve pyproject.toml anew into requirements/; UPGRADE=1 takes the newest versions
	@bash scripts/lock.sh $(if $(UPGRADE),--upgrade)

clean: ## remove what was built; .venv stays
	@rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache src/*.egg-info
	@find src tests scripts benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} +
