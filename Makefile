# One word per task. The environment is .venv, which scripts/setup.sh makes on the first call.

export PATH := $(CURDIR)/.venv/bin:$(PATH)
SHELL := bash
.DEFAULT_GOAL := help

.PHONY: help setup lint format types imports records docs test test-fast test-slow coverage faults wheel

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1 | \2/p' $(MAKEFILE_LIST) | column -t -s '|'

setup: ## make .venv, or bring it up to date
	scripts/setup.sh dev

lint: ## check the code's style, and which package imports which
	ruff check
	ruff format --check
	clang-format --dry-run --Werror tiednmt/kernels/*.cpp
	lint-imports --no-cache --no-logo

format: ## fix style automatically
	ruff check --fix
	ruff format
	clang-format -i tiednmt/kernels/*.cpp

types: ## run mypy, strict
	mypy

records: ## check that the tables in README and docs match results/
	python -m scripts.record --check

docs: ## build the site in build/site
	mkdocs build --strict --site-dir build/site

test: ## run set-up, lint, types, the site and all tests but the nightly ones
	scripts/test.sh

test-fast: ## run tests that take less than ten seconds each
	scripts/pytest.sh -m "not slow"

test-slow: ## run the other tests
	scripts/pytest.sh -m "slow or nightly" --nightly

coverage: ## measure the line coverage of the fast tests against its floors
	scripts/coverage.sh

faults: ## run the commands on 2,000 malformed inputs (SEED=2 makes others)
	python -m tests.faults --inputs 2000 --seed $(or $(SEED),1)

wheel: ## build the wheel, install it apart from the clone, and test it
	scripts/wheel.sh
