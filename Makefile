# What an operator or a developer runs. Every target sets up what it needs, from nothing.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

TOPOLOGY ?= single
DRIVER ?= container
APP ?= warehouse
OBSERVABILITY ?=

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help
help: ## What there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Compiled for services in tests, which run as nobody and cannot write there. What only tools use compiles when it is used.
TOOLS := /(ansible[a-z_]*|black|debugpy|mypy[a-z]*|pip|pkg_resources|pulumi[a-z_]*|schemathesis|setuptools|uv)/
$(VENV)/.done: requirements.lock requirements.uv
	@if ! $(PYTHON) -c 'import ensurepip' 2> /dev/null; then \
		[ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null || { echo 'python3-venv is missing: apt-get install python3-venv, as root' >&2; exit 2; }; \
		apt-get update --quiet; \
		apt-get install --quiet --yes python3-venv; \
	fi
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements.uv
	$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock requirements.uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	$(BIN)/python -m compileall -q -j 0 -x '$(TOOLS)' $(VENV)/lib
	@touch $@

.PHONY: venv
venv: $(VENV)/.done ## The Python environment, from the lock

.PHONY: lab
lab: venv ## Hosts, their application, proof and contract tests, on this machine (TOPOLOGY= DRIVER= APP= OBSERVABILITY=1)
	$(BIN)/hostwright lab --topology $(TOPOLOGY) --driver $(DRIVER) --app $(APP) $(if $(OBSERVABILITY),--observability)

.PHONY: lint
lint: venv ## Every linter
	bash tests/lint

.PHONY: test
test: venv ## Lint and every test but the slow layer
	bash tests/run

.PHONY: test-full
test-full: venv ## The slow ones too: virtual machines, a kill in each phase
	bash tests/run --full

.PHONY: molecule
molecule: venv ## A role's scenarios, from nothing (ROLE=; all of them without)
	$(BIN)/hostwright lab --only-mirror
	$(BIN)/pytest --full tests/roles/test_molecule.py $(if $(ROLE),-k "test_molecule[$(ROLE)] or test_molecule[$(ROLE)-")

.PHONY: roles
roles: ## The roles there are, as JSON
	@$(PYTHON) -c 'import json, pathlib; print(json.dumps(sorted(each.name for each in pathlib.Path("roles").iterdir())))'

.PHONY: images
images: venv ## Every service's image: into the lab's mirror; with REGISTRY= TAG= into another, named by digest in dist/
ifdef REGISTRY
	@mkdir -p dist
	$(BIN)/python -m lab.publish $(REGISTRY) $(TAG) | tee dist/images.json
else
	$(BIN)/hostwright lab --only-mirror
endif

.PHONY: dist
dist: venv ## What a release is made of (TAG= is checked against the version)
	TAG=$(TAG) bash .ci/dist

.PHONY: pictures
pictures: venv ## The documentation's pictures anew, from a run of their own
	$(BIN)/hostwright lab --only-mirror
	$(BIN)/pytest tests/journeys --screenshots docs/images

.PHONY: ci
ci: test molecule dist ## What the workflow runs: lint, every test, each role's scenarios, a release's files

.PHONY: faults
faults: venv ## Each container fails in every way while orders come in: none lost, none twice
	$(BIN)/hostwright lab --only-mirror
	$(BIN)/python -m tests.faults

.PHONY: faults-cluster
faults-cluster: venv ## A cluster scaled, upgraded, rolled out badly, its nodes without power, while orders come in
	$(BIN)/hostwright lab --only-mirror
	$(BIN)/python -m tests.faults --cluster

.PHONY: bench
bench: venv ## Phases, requests, memory, analytics measured, as text and JSON
	$(BIN)/python -m tests.bench

.PHONY: lock
lock: venv ## Resolve the pins again (hashes, no addresses)
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--custom-compile-command "make lock" --extra dev --output-file requirements.lock pyproject.toml services/requirements.in
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--custom-compile-command "make lock" --constraint requirements.lock --output-file services/requirements.lock services/requirements.in

.PHONY: clean
clean: ## Take the lab away: hosts, servers, state; caches stay
	for name in $(patsubst infra/Pulumi.%.yaml,%,$(wildcard infra/Pulumi.lab-*.yaml)); do \
		$(BIN)/hostwright down --environment $$name --data --yes; \
	done
	$(BIN)/python -m lab stop
