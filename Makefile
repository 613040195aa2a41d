# `make` alone lists the targets. Every target needs only a Python ≥ 3.11: what it uses is
# installed into .venv once, and again when pyproject.toml or constraints.txt changes.

PYTHON ?= python3
# The versions to install; `make test CONSTRAINTS=` takes the newest that pyproject.toml allows.
CONSTRAINTS ?= constraints.txt
PYTEST_ARGS ?=
DEMO_ARGS ?= posterior_variance --data digits --seeds 3 --jobs 2

BIN := .venv/bin
export PIP_CONSTRAINT := $(CONSTRAINTS)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test lint format docs clean

help: ## list the targets
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'

demo: .venv/.installed ## learned against constant posterior variance, on the digits
	$(BIN)/python -m experiments $(DEMO_ARGS)

test: lint ## the checks of `make lint`, then the tests on all cores (PYTEST_ARGS="-m slow")
	$(BIN)/python -m pytest -n auto --dist loadscope $(PYTEST_ARGS)

lint: .venv/.installed-test,dev ## style, import directions, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

format: .venv/.installed-test,dev ## rewrite the files in the style that `make lint` checks
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: .venv/.installed-docs ## build docs/_build/html; a warning is an error
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

clean: ## remove .venv, caches and built pages; keeps runs/
	rm -rf .venv build dist docs/_build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find pyro_vae experiments tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@found=$$($(PYTHON) --version 2>&1) || found='not found'; \
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo "pyro_vae needs Python 3.11 or newer; $(PYTHON): $$found." \
	        'Name another, as in `make PYTHON=python3.12 $(MAKECMDGOALS)`.' >&2; exit 1; }
	$(PYTHON) -m venv .venv

.venv/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

.venv/.installed-%: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[$*]'
	@touch $@
