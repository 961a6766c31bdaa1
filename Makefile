# make train and make test do all of the set-up themselves: they need python3 with venv, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
PYTEST_ARGS ?= -n 2 --dist loadgroup

# The pinned set holds for the build of the package too, whichever of the two names pip reads.
PIP := PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt \
	PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install --quiet

.DEFAULT_GOAL := help
.PHONY: help train test test-heavy test-faults lint clean

help:  ## list the targets
	@echo "usage: make TARGET"
	@sed -n 's/^\([a-z-]*\):.*##  *\(.*\)/  \1|\2/p' Makefile | awk -F'|' '{printf "%-13s %s\n", $$1, $$2}'
	@echo "Variables: PYTHON=python3.12 (which Python makes .venv), ARGS='train.steps=50' (overrides)."

train: $(VENV)/.installed  ## train a flow on real digits with the symplectic adjoint method
	$(BIN)/symadj-train solver=dopri5 grad=symplectic $(ARGS)

test: lint  ## check style and types, then run the tests
	$(BIN)/python -m pytest $(PYTEST_ARGS)

test-heavy: $(VENV)/.installed-dev  ## clusters, several ranks, kills again and again (4 minutes)
	$(BIN)/python -m pytest -m heavy $(PYTEST_ARGS)

test-faults: $(VENV)/.installed-dev  ## kill, starve and misuse the runner (15 minutes)
	$(BIN)/python -m pytest tests/faults -m "" $(PYTEST_ARGS)

lint: $(VENV)/.installed-dev  ## check style and types only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright --pythonpath $(BIN)/python

clean:  ## remove .venv and the caches (never the results)
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis build dist

# A stamp is written last, so an install that was cut off is done again.
$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
		|| { echo "symadj needs Python 3.10 or newer: make train PYTHON=python3.12" >&2; exit 2; }
	@echo "Installing symadj with the pinned packages into $(VENV) (once; some minutes)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "Installing the tools for the tests into $(VENV) (once)"
	@$(PIP) --editable '.[dev]'
	@touch $@
