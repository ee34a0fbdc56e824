# Every target sets itself up: it builds .venv when missing and installs what it needs once.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
SCRIPTS := $(sort $(filter-out %/__init__.py %/_%.py, $(wildcard benchmarks/*.py)))

.PHONY: help demo test lint types unit docs bench setup clean
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/'

$(BIN)/python:
	$(PYTHON) -m venv .venv

.venv/.stamp-%: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) -e '.[$*]'
	@touch $@

setup: .venv/.stamp-dev ## install what the tests need

demo: .venv/.stamp-atoms,images,report ## symmetrize and audit small networks on molecules and digits
	$(BIN)/coset demo

test: lint types unit ## lint, check types, run the tests

lint: .venv/.stamp-dev
	$(BIN)/ruff check .

types: .venv/.stamp-dev
	$(BIN)/mypy

unit: .venv/.stamp-dev
	$(BIN)/python -m pytest -n 2 $(PYTEST_ARGS)

docs: .venv/.stamp-dev ## build the documentation site into site/
	$(BIN)/mkdocs build --strict --quiet

bench: .venv/.stamp-dev,bench ## run every benchmark at full size
	@set -e; for script in $(SCRIPTS); do echo "== $$script"; $(BIN)/python $$script; done

clean: ## remove the environment and what was built
	rm -rf .venv site dist build demo_out
