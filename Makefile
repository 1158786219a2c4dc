# `make help` tells what there is. Everything installs what it needs first (scripts/setup).

.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
SHELL := /bin/bash
PYTHON := .venv/bin/python
ROUNDS ?= 3
CHAOS_TIME ?= 300
FUZZ_TIME ?= 600
PARTS := unit fuzz netns interop chaos dockerd ipvlan

.PHONY: help setup setup-demo setup-venv demo test lint fix soak fuzz bench clean $(PARTS:%=test-%)

help: ## this list
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "  make test-PART    one of: $(PARTS); ARGS='-k word -x' goes to pytest"

demo: setup-demo ## two Docker hosts, a network on each, ping across; KEEP=1 leaves them up
	@$(if $(filter 0,$(shell id -u)),,sudo) $(PYTHON) -m lab.demo $(if $(filter-out 0,$(KEEP)),--keep)

setup: ## install Debian packages and .venv, as far as missing
	@scripts/setup test

setup-demo setup-venv: setup-%:
	@scripts/setup $*

test: setup ## all tests, the same as in CI
	@scripts/test $(ARGS)

$(PARTS:%=test-%): test-%: setup
	@scripts/test tests/$* $(ARGS)

lint: setup-venv ## ruff, mypy, import rules; changes nothing
	@$(PYTHON) -m ruff check
	@$(PYTHON) -m ruff format --check
	@$(PYTHON) -m mypy
	@.venv/bin/lint-imports

fix: setup-venv ## let ruff repair and format
	@$(PYTHON) -m ruff check --fix
	@$(PYTHON) -m ruff format

soak: setup ## all tests ROUNDS times, with fifty times the random cases, CHAOS_TIME seconds of chaos
	@for round in $$(seq $(ROUNDS)); do \
	    echo "soak: round $$round of $(ROUNDS)"; \
	    CHAOS_TIME=$(CHAOS_TIME) CHAOS_SEED=$${CHAOS_SEED:-$$RANDOM} \
	        scripts/test --hypothesis-profile=soak $(ARGS) || exit; \
	done

fuzz: setup-venv ## fuzz the BGP core for FUZZ_TIME seconds; goes on where the last run ended (.fuzz/)
	@$(PYTHON) -m tests.fuzz run --time $(FUZZ_TIME)

bench: setup ## how fast it is, beside BIRD, FRR and GoBGP; ARGS='parse --rounds 9 --json FILE'
	@$(if $(filter 0,$(shell id -u)),,sudo) $(PYTHON) -m bench $(ARGS)

clean: ## take away .venv, caches and the lab's newer Docker
	@[ ! -d /var/cache/bgp-ipvlan-lab ] || rm -rf --one-file-system /var/cache/bgp-ipvlan-lab
	@rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage dist build
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
