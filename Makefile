# Everything a contributor needs. `make help` lists it.
#
# A fresh machine needs Python 3.11 or newer with venv, and GNU make; `make test` and
# `make bench` bring the servers they start by tools/system-packages.

PYTHON ?= $(shell tools/find-python)
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check
TESTS  ?= tests
# Test files run side by side, each file in one process; JOBS=0 runs all in one.
JOBS   ?= 3
BENCH  ?= all

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format bench soak clean distclean constraints packages

help:  ## List the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

# The environment is built in two steps so that the demo does not wait for the test tools.
$(VENV)/bin/python:
	@tools/find-python >/dev/null
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: constraints/run.txt pyproject.toml | $(VENV)/bin/python
	$(PIP) install -q --require-hashes -r constraints/run.txt
	$(PIP) install -q --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: constraints/dev.txt $(VENV)/.run
	$(PIP) install -q --require-hashes -r constraints/dev.txt
	@touch $@

setup: $(VENV)/.dev  ## Create .venv from the pinned, hashed constraints

demo: $(VENV)/.run  ## Start the order-desk demonstration and open its page
	$(BIN)/python -m examples.demo

packages:
	@tools/system-packages test

test: $(VENV)/.dev packages  ## Run every test, with real servers on private ports
	@tools/run-tests -n $(JOBS) --dist loadfile --durations=15 $(TESTS)

lint: $(VENV)/.dev  ## ruff, formatting, mypy --strict and the walls
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(VENV)/.dev  ## Rewrite the code as ruff would have it
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev  ## Measure Headgate beside the named peers (an hour; BENCH=story for one)
	@tools/system-packages bench
	$(BIN)/python -m bench.run $(BENCH)

soak: $(VENV)/.dev packages  ## Run the fault tests again and again (SOAK_MINUTES, default 30)
	tools/soak

constraints: $(VENV)/bin/python  ## Pin the dependencies anew, with hashes
	tools/pin-constraints

clean:  ## Remove what tests, builds and caches left
	rm -rf build dist tests/.artifacts .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find src tests bench examples tools -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean  ## clean, and remove .venv and the peers' environments
	rm -rf $(VENV) .peers .tools
