.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.complete

.PHONY: help setup demo up test test-containers test-compose unit lock sbom kubernetes bench lint types arch fmt

help: ## These lines
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /|/' | awk -F'|' '{ printf "  make %-15s %s\n", $$1, $$2 }'

setup: $(STAMP) ## Make .venv and fetch Kafka; quick when nothing has changed
	@$(BIN)/python -m loanloop.runtime

$(STAMP): pyproject.toml requirements-dev.lock .ci/setup
	@PYTHON=$(PYTHON) .ci/setup
	@touch $@

demo: setup ## Watch the loop turn on real loans: train, serve, notice the crisis, retrain, swap
	@$(BIN)/loanloop demo

up: setup ## Start Kafka, PostgreSQL and the services, and stay
	@$(BIN)/loanloop up

test: setup ## All tests
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile tests --ignore tests/compose

test-containers: setup ## Those on a real Kafka and PostgreSQL again, in containers; needs a Docker engine
	LOANLOOP_TEST_BACKEND=containers $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile tests/integration tests/e2e

test-compose: setup ## docker-compose.yml itself, brought up and used; needs a Docker engine
	$(BIN)/python -m pytest tests/compose

unit: setup ## The pure tests alone, in seconds
	$(BIN)/python -m pytest tests/unit

lock: setup ## Both locks of versions from pyproject.toml; what is locked stays, unless it no longer fits
	@.ci/lock

sbom: setup ## What loanloop is made of (sbom.json, CycloneDX), and whether an advisory is known for it
	@.ci/dependencies

kubernetes: setup ## deploy/kubernetes rendered, and checked against the schemas of what it is for
	@.ci/kubernetes

bench: setup ## Speed and quality beside limits and peers; results and plots in bench/results
	@$(BIN)/loanloop bench

lint: setup ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup ## mypy, strict
	$(BIN)/mypy

arch: setup ## Directions of imports
	$(BIN)/lint-imports

fmt: setup ## Format, and mend what ruff can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
