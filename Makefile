# make demo   run the main job on two virtual boards and write a report
# make test   everything: lint, types, layers, unit, contract and end-to-end tests
# make faults  kill, fill and cut whatever can be for SECONDS (60) from SEED, and count what it cost
# make test-all  the slow ones as well: every suite twice on exact boards, reference kernels
# make check  the quick part of it (under a minute, no QEMU, no network)
# make bench  how quick it is, beside scp, labgrid's SSHDriver and a bare boot (QUICK=1: does it work)
# make setup  install what is missing; leaves the command at .venv/bin/farm
# make setup-reference  what building reference kernels needs, as well: a cross compiler
# make clean  remove what was made here (caches outside the tree stay: see `farm doctor`)

SHELL := /bin/bash
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
DEMO_OUT := reports/output
## One more than processors, where now and then a test waits for a program of its own.
WORKERS := $(shell expr $$(nproc) + 1)

.PHONY: help setup setup-dev setup-reference system demo check types unit test test-all bench faults clean

help:
	@sed -n 's/^# //p' Makefile

system:
	@tools/install-system-packages

$(VENV)/.installed: pyproject.toml | system
	@echo "setup: Python packages into $(VENV)"
	@test -x $(BIN)/python || python3 -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/.installed
	@echo "setup: Python packages for development into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@echo "setup: the payload, for boards and for this machine (its compiler builds C libraries once)"
	@$(BIN)/python -c 'from farm.board import payload; payload.build(); payload.build("host")'
	@touch $@

setup: system $(VENV)/.installed

setup-dev: setup $(VENV)/.installed-dev

setup-reference: setup
	@tools/install-system-packages reference

demo: setup
	@$(BIN)/farm run --out $(DEMO_OUT) --stress-seconds 0.2 -m "not full and not long"

check: setup-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(MAKE) --no-print-directory --jobs=2 types unit

types:
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

unit:
	@$(BIN)/pytest -q -n $(WORKERS) --dist worksteal tests/unit

test: check
	@$(BIN)/pytest -n $(WORKERS) --dist loadfile -m "not slow" tests/contract
	@$(BIN)/pytest -n 3 --dist loadfile -m "not slow" tests/e2e

test-all: check setup-reference
	@$(BIN)/pytest -n $(WORKERS) --dist loadfile tests/contract
	@$(BIN)/pytest -n 3 --dist loadfile tests/e2e

bench: setup-dev
	@PYTHONPATH=.:tests/support $(BIN)/python -m benchmarks $(if $(QUICK),--quick) $(ONLY)

faults: setup-dev
	@$(BIN)/python tests/support/campaign.py $(or $(SECONDS),60) $(SEED)

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	rm -rf $(DEMO_OUT) farm-results
