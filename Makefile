# What developers and CI run. `make` says what there is.
SHELL := /bin/bash
PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3.13 python3.14 python3,$(shell command -v $(p))))
bin := .venv/bin
SEEDS ?= 200
N ?= 100
MINUTES ?= 10
CLUSTERS ?= 1000
timeless = tests/contract tests/core tests/operator tests/phoenix tests/services tests/simulation
patient = tests/local tests/shell $(wildcard tests/test_*.py $(patsubst %,tests/process/test_%.py,\
  asleep bad_input boards changed_game chat check early_stop kept_rooms lost_lease match_rooms players pubsub room_ends\
  supervisor zones))
scripts = $(shell git ls-files --cached --others --exclude-standard .ci charts e2e tests play check | xargs grep -slE '^\#!/bin/bash')

help: ## what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' | column -t -s '|'

setup: .venv/ready ## the virtual environment .venv, with everything for development
.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: set PYTHON")'
	$(PYTHON) -m venv .venv
	$(bin)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

check: setup ## style, types, the imports' laws, scripts, and the chart's copy of the CRD
	$(bin)/ruff check
	$(bin)/ruff format --check
	$(bin)/mypy
	$(bin)/mypy $(wildcard e2e/*.py)
	$(bin)/mypy $(wildcard bench/*.py)
	$(bin)/mypy --follow-imports=silent $(wildcard bench/operator/*.py)
	$(bin)/lint-imports
	charts/check
	@if command -v shellcheck >/dev/null; then echo shellcheck; shellcheck $(scripts); else echo "shellcheck is not installed: scripts are not checked"; fi

test: setup ## all tests that need no cluster
	$(bin)/python -m pytest tests --ignore tests/operator/apiserver --ignore tests/operator/exposed

timeless: setup ## those of them that look at no clock: whatever runs beside them
	$(bin)/python -m pytest $(timeless) --ignore tests/operator/apiserver --ignore tests/operator/exposed

patient: setup ## those that wait for something, and bear to wait long: on a busy machine they pass, too
	$(bin)/python -m pytest $(patient)

timed: setup ## all others: they want a quiet machine
	$(bin)/python -m pytest tests $(patsubst %,--ignore %,$(timeless) $(patient))

apiserver: setup ## the operator's tests, and those of the server's Lease, on a real API server (Go builds it the first time)
	e2e/airgap/tools/build-tools apiserver helm >/dev/null
	$(bin)/python -m pytest tests/operator/apiserver

exposed: setup ## clients of a game behind a real Ingress controller and Gateway, as root (Go builds Traefik the first time)
	e2e/airgap/tools-traefik/build-traefik >/dev/null
	$(bin)/python -m pytest tests/operator/exposed

e2e: setup ## the end-to-end tests on a real Kubernetes: see docs/e2e.md
	e2e/run

simulate: setup ## SEEDS=200: random schedules of faults against the core, each replayed by its seed, on all CPUs
	$(bin)/python -m tests.simulation --seeds $(SEEDS)

kills: setup ## N=100: kill the leader's process so many times under load
	$(bin)/python -m tests.process.kills --count $(N)

campaign: setup ## N=100: kill and stop the leader's process in turn so many times, and half as many hand-overs
	$(bin)/python -m tests.process.kills --count $(N) --stops --handovers $$(($(N) / 2))

stalls: setup ## MINUTES=10: every node's loop stalls for 200 ms now and then; nobody may be accused
	$(bin)/python -m tests.process.stalls --minutes $(MINUTES)

bench: setup ## what is measured in docs/performance.md, beside a program in C that sends the same bytes: about five minutes on two idle cores
	$(bin)/python -m bench

bench-peers: setup ## the same with peers, which are installed from package registries at first (needs Node.js and Go): half an hour
	$(bin)/python -m bench --all-peers

bench-rooms: setup ## 500 rooms of ten on three nodes: what they cost, how long a move to another node and a kill -9 hold their players up
	$(bin)/python -m bench.live_rooms

bench-operator: setup ## CLUSTERS=1000: what the operator costs, on a real API server with kwok's fake nodes (Go builds them the first time)
	$(bin)/python -m bench.operator --clusters $(CLUSTERS)

up: setup ## a local cluster with the demo game
	$(bin)/gamecluster up

.PHONY: help setup check test timeless patient timed apiserver exposed e2e simulate kills campaign stalls bench bench-peers bench-rooms bench-operator up
.DEFAULT_GOAL := help
