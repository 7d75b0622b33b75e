# One word per task. The environment is .venv, which scripts/setup.sh makes on the first call.

export PATH := $(CURDIR)/.venv/bin:$(PATH)
SHELL := bash
.DEFAULT_GOAL := help

.PHONY: help setup lint format types imports records docs test test-fast test-slow coverage faults wheel

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1 | \2/p' $(MAKEFILE_LIST) | column -t -s '|'

setup: ## make .venv, or bring it up to date
	scripts/setup.sh dev

lint: ## style of the code, and which package imports which
	ruff check
	ruff format --check
	lint-imports --no-cache --no-logo

format: ## repair what lint complains of, where a machine can
	ruff check --fix
	ruff format

types: ## mypy, strict
	mypy

records: ## the tables of README and docs are those of results/
	python -m scripts.record --check

docs: ## the site, in build/site
	mkdocs build --strict --site-dir build/site

test: ## set-up, lint, types and all tests
	scripts/test.sh

test-fast: ## tests of less than ten seconds each
	OMP_NUM_THREADS=1 python -m pytest -n auto --dist loadfile -m "not slow"

test-slow: ## the others
	OMP_NUM_THREADS=1 python -m pytest -n auto --dist loadfile -m slow --nightly

coverage: ## lines that the fast tests run, and the floors
	scripts/coverage.sh

faults: ## 2,000 malformed inputs; SEED=2 makes others
	python -m tests.faults --inputs 2000 --seed $(or $(SEED),1)

wheel: ## build it, install it by itself, and try it
	scripts/wheel.sh
