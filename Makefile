# Set-up and daily work. Needs Python 3.10-3.13 and git; everything else is installed into .venv.
#   make demo    the whole pipeline on the corpus in data/demo, about five minutes on two cores
#   make test    the tests
#   make check   lint, formatting, types
#   make bench   the benchmarks, hours on two cores; ARGS=--quick for minutes, ARGS=--help for all there is
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Installed in two steps: torch first, so that the tested pin decides which build of it is taken.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test check bench clean

demo: $(VENV)/.report
	$(BIN)/python scripts/demo.py

test: $(VENV)/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal  # a thread a worker: more get in each other's way

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks $(ARGS)
	$(if $(ARGS),,$(BIN)/python -m benchmarks.kernels)

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.report: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) torch
	$(PIP) --editable '.[report]'
	@touch $@

$(VENV)/.test: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) torch
	$(PIP) --editable '.[test]'
	@touch $@

$(VENV)/.dev: $(VENV)/.test
	$(PIP) --editable '.[test,dev]'
	@touch $@

$(VENV)/.bench: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) torch
	$(PIP) --editable '.[bench]'
	@touch $@

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
