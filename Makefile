# Each target sets itself up from nothing in .venv with plain pip, and does nothing twice.
#   make demo       train the default recipe on the embedded images and print the path of the picture
#   make test       the tests; `make test-slow` for those that take minutes
#   make lint       formatting, lint, types
#   make smoke      the training benchmark on small networks, two minutes: does it run?
#   make clean      remove .venv, caches and the demo's run
# PYTHON=python3.12 make ... takes another interpreter; PIP_FLAGS=... is passed to pip.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PROJECTS := pyproject.toml $(sort $(wildcard plugins/*/pyproject.toml))
PLUGINS := $(patsubst %/pyproject.toml,%,$(filter-out pyproject.toml,$(PROJECTS)))
STAMP := $(VENV)/.installed
DEMO := runs/demo

.DELETE_ON_ERROR:
.PHONY: demo test test-slow lint smoke clean setup

demo: $(STAMP)
	@if [ -f $(DEMO)/run.toml ]; then $(BIN)/ganzoo resume $(DEMO); else $(BIN)/ganzoo train --out $(DEMO); fi
	@ls $(CURDIR)/$(DEMO)/samples/*.png | tail -n 1

# A process a core, each with one thread: torch's threads on small tensors are slower than none where they share cores.
test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadfile

test-slow: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadfile -m slow

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

smoke: $(STAMP)
	$(BIN)/python benchmarks/training.py --smoke

setup: $(STAMP)

# The packages are editable: only a change of what they declare asks for another installation.
$(STAMP): $(PROJECTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "ganzoo needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) --version 2>&1): PYTHON=python3.12 make ..."; exit 1; }
	[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check $(PIP_FLAGS) --editable '.[dev]' $(addprefix --editable ./,$(PLUGINS))
	@touch $@

clean:
	rm -rf $(VENV) $(DEMO) .hypothesis .mypy_cache .pytest_cache .ruff_cache dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
