# Everything a person types. The steps themselves are short scripts in tools/, each with its reasons.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help run run-local test check bench lock clean

BIN := .venv/bin
# Two processes: the machine this was sized for has two cores, and each test process brings its own PostgreSQL and Redis.
TEST_PROCESSES ?= 2

help:
	@echo 'make run        start the gateway here (HAECHI_PORT, HAECHI_DATA, HAECHI_CONFIG, HAECHI_PRICES)'
	@echo 'make run-local  the same with a small real model on this machine'
	@echo 'make test       linters, types, import rules and every test, against real PostgreSQL and Redis'
	@echo 'make check      linters, types and import rules only'
	@echo 'make bench      measure what the gateway adds'
	@echo 'make lock       compile the pinned requirements again'
	@echo 'make clean      remove environments and caches; never data'

# `serve` reads HAECHI_PORT, HAECHI_DATA, HAECHI_CONFIG and HAECHI_PRICES itself. The shell is replaced by it, so that
# Ctrl-C and a service manager's signal reach it.
run:
	@tools/environment.sh runtime
	@exec $(BIN)/haechi serve

run-local:
	@tools/environment.sh local
	@exec $(BIN)/python deploy/local/run.py

check:
	@tools/environment.sh dev
	@tools/check.sh

# The linters' verdict counts, and the tests run whatever it is: one run tells everything that is wrong.
test:
	@tools/environment.sh dev
	@tools/servers.sh
	@tools/judges.sh >/dev/null
	@status=0; tools/check.sh || status=1; $(BIN)/pytest -q -n $(TEST_PROCESSES) --dist loadfile $(PYTEST_ARGS) || status=1; exit $$status

bench:
	@tools/environment.sh runtime
	@$(BIN)/python -m bench

lock:
	@tools/environment.sh dev
	@tools/lock.sh
	@tools/environment.sh dev
	@$(BIN)/python tools/notice.py

clean:
	@rm -rf .venv .venv-local .venv-sdk .cache .hypothesis .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
