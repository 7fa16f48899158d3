# One command per chore, the same here and in CI. Needs Python >= 3.11 and a package index; nothing else.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

.PHONY: demo test check format types unit figures clean

demo: $(VENV)/.demo             ## Set up, then run the main job on a real model
	$(BIN)/burnish demo

test: $(VENV)/.dev check unit   ## Set up, then everything that CI checks

check: $(VENV)/.dev             ## Lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

unit: $(VENV)/.dev              ## The tests, with the real servers from their wheels
	$(BIN)/pytest

format: $(VENV)/.dev            ## Put the code into its form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

figures: $(VENV)/.dev           ## Every figure that README and docs state, measured again on this machine
	$(BIN)/python -m benchmarks

clean:                          ## Remove what these commands made here
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache build dist *.egg-info demo

$(VENV)/.demo: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[demo]'
	touch $@

$(VENV)/.dev: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@ $(VENV)/.demo
