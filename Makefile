# Everything runs in .venv, which is made here from Python 3.11 or newer. Name one with
# `make PYTHON=/path/to/python3.12`.

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
	$$p -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { echo $$p; break; }; done)
PIP := $(BIN)/python -m pip --quiet --quiet --disable-pip-version-check install
SLOW := -m slow

.PHONY: help demo test test-slow lint format bench clean

help:
	@echo "make demo       enrich real speeches with the local model (fetches 491 MB, once)"
	@echo "make test       install what the tests need, and run them"
	@echo "make test-slow  the tests that take minutes"
	@echo "make lint       ruff and mypy"
	@echo "make bench      the benchmarks"
	@echo "make clean      remove the environment and what was built"

demo: $(VENV)/.local
	$(BIN)/swath demo

test: $(VENV)/.dev
	$(BIN)/python -m pytest -q

test-slow: $(VENV)/.dev
	$(BIN)/python -m pytest -q $(SLOW)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev
	for name in overhead replay limits imports joins ranking operators million cascade; do $(BIN)/python -m benchmarks.$$name || exit 1; done

clean:
	rm -rf $(VENV) dist .pytest_cache .mypy_cache .ruff_cache

# A stamp says what was installed; it is made again when pyproject.toml changes.

$(VENV)/.python:
	@test -n "$(PYTHON)" || { echo "Swath needs Python 3.11 or newer with venv, and found none." \
		"Install it (Debian: apt install python3-venv), or name one: make PYTHON=…" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.local: pyproject.toml | $(VENV)/.python
	$(PIP) -e '.[local]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/.python
	$(PIP) -e '.[dev]'
	@touch $@ $(VENV)/.local
