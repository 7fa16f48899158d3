# One command per chore, the same here and in CI. Needs Python >= 3.11 and a package index; nothing else.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

BROWSERS := chromium chromium-browser google-chrome google-chrome-stable

# Tests of whole services, which want a machine for themselves; the others run two at a time, by file.
ALONE := tests/acceptance tests/web tests/deploy

.PHONY: demo test check format types unit browser figures clean

demo: $(VENV)/.demo             ## Set up, then run the main job on a real model
	$(BIN)/burnish demo

test: $(VENV)/.dev check unit   ## Set up, then everything that CI checks

check: $(VENV)/.dev             ## Lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

unit: $(VENV)/.dev browser      ## The tests, with the real servers from their wheels
	@status=0; \
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile $(addprefix --ignore=,$(ALONE)) || status=1; \
	$(BIN)/pytest $(ALONE) || status=1; \
	exit $$status

browser:                        ## Chromium for the tests of the web page: installed if there is none and we may
	@for name in $(BROWSERS); do command -v $$name >/dev/null && exit 0; done; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "Installing Chromium for the tests of the web page"; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null \
	    || echo "It could not be installed; the tests that need it will say so"; \
	fi

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
