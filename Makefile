# Everything a person or CI runs, from a bare machine with Python 3.11. `make help` lists it.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
# Where it is set, each of the processes that tests start compiles all modules anew.
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
PIP_INSTALL := $(PY) -m pip install -qq --disable-pip-version-check
LOCKED := $(VENV)/.locked
READY := $(VENV)/.ready
UV_VERSION := 0.13.9
PIP_AUDIT_VERSION := 2.10.1

# `make run` needs none of the tools above: what serves is installed into an environment of its own.
RUN_VENV := .venv-run
RUN_PY ?= $(RUN_VENV)/bin/python
RUN_READY := $(RUN_VENV)/.ready

FUZZ_VENV := .fuzz
FUZZ_READY := $(FUZZ_VENV)/.ready
# make fuzz [SECONDS=600] [TARGETS="some of them"]
SECONDS := 600
TARGETS ?=
# make soak [MINUTES=60]
MINUTES := 60

MUTANTS_VENV := .mutants
MUTANTS_READY := $(MUTANTS_VENV)/.ready
# make mutants [MODULES="files and folders"] [SAMPLE=0.2] [AGAIN=1]
MODULES ?=
SAMPLE ?= 1
AGAIN ?=

# make run SIM=1 [SIM_PORT=8701] [SIM_SEED=1] [SIM_ROWS=folder of recorded rows]
SIM ?=
SIM_PORT ?= 8701
SIM_SEED ?= 1
SIM_ROWS ?=
# What is stored outlives a restart as long as the exchange is the same.
DEMO = demo --sim-port $(SIM_PORT) --seed $(SIM_SEED) $(if $(SIM_ROWS),--rows '$(SIM_ROWS)') \
  $(if $(filter-out 1,$(SIM_SEED))$(SIM_ROWS),,--state-dir .run/sim/state)
# make test-kill [KILLS=100]
KILLS ?= 100
# make system [QUESTIONS=1000000]
QUESTIONS ?= 1000000
# make demo [ROWS=folder of recorded rows]
ROWS ?=
# make run-replicas [ONCE=1]
ONCE ?=
# make test-clients [CLIENTS="part of a client's name …"]
CLIENTS ?=
PYTHON2 ?= python2.7
# Where hypothesis draws many more examples in `make test-long`; of the other folders, it runs the long tests.
MODELS := tests/candles tests/upstream tests/relay tests/cache tests/stores tests/replicas/test_oracle.py

.PHONY: help setup run programs quick test test-long test-kill system faults soak fuzz mutants test-clients test-examples test-streams test-autobahn lint format lock bench demo incident listeners picture replicas redis-costs restart dashboards generate docs run-replicas sbom audit clean

help: ## list the targets
	@sed -nE -e 's/^##@ (.*)/\n\1/p' -e 's/^([a-z-]+):.*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 16

##@ Run

setup: $(READY) ## make the virtual environment (.venv) and install everything locked into it

CHECK_PYTHON = \
  $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
    || { echo "mdcache needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3" >&2; exit 1; }; \
  $(PYTHON) -c 'import ensurepip, venv' \
    || { echo "this Python has no venv module; on Debian: apt-get install python3-venv" >&2; exit 1; }

# Made anew when the lock changes, so that nothing that left the lock lingers.
$(LOCKED): requirements-build.lock requirements-dev.lock
	@$(CHECK_PYTHON)
	@echo "making $(VENV) from requirements-dev.lock …"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(PIP_INSTALL) --require-hashes -r requirements-build.lock
	@$(PIP_INSTALL) --require-hashes --no-build-isolation -r requirements-dev.lock
	@touch $@

# Without what installed it, and without symbols for debuggers; the first start compiles the modules that it imports.
$(RUN_READY): requirements-build.lock requirements.lock
	@$(CHECK_PYTHON)
	@echo "making $(RUN_VENV) from requirements.lock …"
	@$(PYTHON) -m venv --clear $(RUN_VENV)
	@$(RUN_VENV)/bin/python -m pip install -qq --disable-pip-version-check --no-compile --require-hashes -r requirements-build.lock
	@$(RUN_VENV)/bin/python -m pip install -qq --disable-pip-version-check --no-compile --require-hashes --no-build-isolation \
	  -r requirements.lock
	@$(RUN_VENV)/bin/python -m pip uninstall -qq --yes pip setuptools
	@if test "$$(uname)" = Linux && command -v strip >/dev/null; then \
	  find $(RUN_VENV) -name '*.so' -exec strip --strip-debug {} +; fi
	@touch $@

$(FUZZ_READY): requirements-build.lock requirements.lock tests/fuzz/requirements.lock
	@$(CHECK_PYTHON)
	@echo "making $(FUZZ_VENV) …"
	@$(PYTHON) -m venv --clear $(FUZZ_VENV)
	@$(FUZZ_VENV)/bin/python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements-build.lock
	@$(FUZZ_VENV)/bin/python -m pip install -qq --disable-pip-version-check --require-hashes --no-build-isolation -r requirements.lock
	@$(FUZZ_VENV)/bin/python -m pip install -qq --disable-pip-version-check --require-hashes --only-binary :all: \
	  -r tests/fuzz/requirements.lock \
	  || { echo "atheris has no wheel for this Python or machine (Linux and macOS, 3.11 to 3.13, have one)" >&2; exit 1; }
	@touch $@

$(MUTANTS_READY): tests/mutants/requirements.lock
	@$(CHECK_PYTHON)
	@echo "making $(MUTANTS_VENV) …"
	@$(PYTHON) -m venv --clear $(MUTANTS_VENV)
	@$(MUTANTS_VENV)/bin/python -m pip install -qq --disable-pip-version-check --require-hashes \
	  -r tests/mutants/requirements.lock
	@touch $@

# The project itself, editable; its build backend is in the lock, so this needs no network.
$(READY): $(LOCKED) pyproject.toml
	@$(PIP_INSTALL) --no-deps --no-build-isolation --no-index --editable .
	@touch $@

run: $(RUN_READY) ## serve, with no other server; SIM=1: with a simulated exchange beside it
	@exec $(RUN_PY) -m tools.foreground $(RUN_PY) -m mdcache $(if $(SIM),$(DEMO),serve)

run-replicas: $(READY) ## three replicas, Redis and HAProxy before a simulated exchange; ONCE=1: show it, and end
	@exec $(PY) -m bench.stack $(if $(ONCE),--once)

##@ Check

programs: $(READY) ## install the programs of others that tests run, or say which are missing
	@$(PY) -m tests.support.programs

quick: $(READY) ## run the tests that start no process: a minute or so
	@$(PY) -m pytest -q -n 3 --dist worksteal -m "not processes" -p no:schemathesis

# Four processes, each file in one of them: on two cores, as two of four wait most of the time.
test: $(READY) ## run the whole suite, with the coverage floor
	@$(PY) -m tests.support.programs || echo "… what needs them fails below" >&2
	@$(PY) -m pytest --collect-only -qq >/dev/null || true # compile the tests once; what is wrong with them is told below
	@$(PY) -m coverage erase
	@$(PY) -m coverage run -m pytest -n 4 --dist loadfile --no-loadscope-reorder --exhaustive
	@$(PY) -m coverage combine --quiet
	@$(PY) -m coverage report
	@echo "slow jobs, not run here: make test-long, make test-kill, make system, make faults, make soak, make test-clients, make test-examples, make test-streams, make test-autobahn, make fuzz, make mutants, make bench, make demo, make incident, make restart, make replicas"

test-long: $(READY) ## run the long tests, with many more hypothesis examples
	@HYPOTHESIS_PROFILE=long $(PY) -m pytest $(MODELS) -m "long or not long" --exhaustive
	@$(PY) -m pytest -m long --exhaustive $(MODELS:%=--ignore=%)

test-clients: $(READY) ## install real client libraries (.clients) and run them; CLIENTS="ccxt freqtrade" for some
	@$(PY) -m tests.clients $(CLIENTS)

test-examples: $(READY) ## compile the examples in Go and Rust, and run them before a simulated exchange
	@$(PY) -m tests.clients.examples

test-streams: $(READY) ## four bots on one daemon, through a dropped upstream, a shutdown and a restart
	@$(PY) -m tests.clients.survival

test-autobahn: $(READY) ## Autobahn's suite of WebSocket servers (.clients); it needs Python 2.7: PYTHON2=/path/to/python
	@$(PY) -m tests.clients.autobahn --python $(PYTHON2)

test-kill: $(READY) ## kill -9 the daemon under load, 100 times; KILLS=10 for fewer
	@$(PY) -m bench.kill $(KILLS)

faults: $(READY) ## every fault upon a real daemon, for longer than in make test; writes docs/reliability.md (6 min)
	@$(PY) -m tests.faults

soak: $(READY) ## the incident on three replicas, a fault every 30 s, judged; MINUTES=60; PAGE=1: writes docs/reliability.md
	@$(PY) -m bench.soak --minutes $(MINUTES) $(if $(PAGE),--page)

fuzz: $(FUZZ_READY) ## fuzz what parses bytes of strangers, guided by coverage (.fuzz); SECONDS=60 TARGETS="rows frames"
	@$(FUZZ_VENV)/bin/python -m tests.fuzz --seconds $(SECONDS) $(TARGETS)

mutants: $(READY) $(MUTANTS_READY) ## change the core in one place at a time: a test should fail (2 h); MODULES=… SAMPLE=0.2 AGAIN=1
	@$(PY) -m tests.mutants --sample $(SAMPLE) $(if $(AGAIN),--again) $(MODULES)

system: $(READY) ## whole daemons in random histories, in virtual time; QUESTIONS=20000 for fewer than a million
	@$(PY) -m tests.system --questions $(QUESTIONS)

# All four speak, whatever the others say.
lint: $(READY) ## ruff (rules and format), mypy, import-linter
	@failed=0; \
	$(PY) -m ruff check || failed=1; \
	$(PY) -m ruff format --check || failed=1; \
	$(PY) -m mypy || failed=1; \
	$(VENV)/bin/lint-imports || failed=1; \
	exit $$failed

format: $(READY) ## let ruff format the code and fix what it can
	@$(PY) -m ruff format
	@$(PY) -m ruff check --fix

##@ Measure

bench: $(READY) ## measure
	@$(PY) -m bench

demo: $(READY) ## the demonstration; ROWS=folder of recorded rows
	@$(PY) -m bench.demo $(if $(ROWS),'$(ROWS)')

incident: $(READY) ## the incident with streams and derivation on and off, closes, 5,000 topics (20 min)
	@$(PY) -m bench.incident
	@$(PY) -m bench.topics

redis-costs: $(READY) ## what each thing that replicas ask of Redis costs it (docs/scaling.md)
	@$(PY) -m bench.redis_costs

replicas: $(READY) ## three replicas and one Redis: what they ask for, and what sharing costs
	@$(PY) -m bench.replicas

listeners: $(READY) ## 1 to 1,000 listeners to 20 and to 1,000 topics: CPU, memory, how old frames are (5 min)
	@$(PY) -m bench.listeners

restart: $(READY) ## what a restart costs under the incident's load, with and without what rests on disk
	@$(PY) -m bench.restart

##@ Write

generate: $(READY) ## write every file that is made from code: pages of docs/, .env.example, dashboards
	@$(PY) -m tools.generate
	@$(PY) -m grafana

picture: $(READY) ## play the incident and draw the pictures of it, of the status page and of the chart (11 min)
	@mkdir -p docs/pictures
	@$(VENV)/bin/mdcache replay --picture docs/pictures/replay
	@$(PY) -m tools.status_picture
	@$(PY) -m tools.chart_picture

docs: $(READY) ## build the documentation's site into .run/site, its drawings anew if graphviz is here
	@if command -v dot >/dev/null; then for each in docs/diagrams/*.dot; do dot -Tsvg $$each -o $${each%.dot}.svg; done; fi
	@NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --config-file docs/site/mkdocs.yml 2>&1 | { grep -v INFO || true; }
	@echo "open .run/site/index.html"

dashboards: $(READY) ## write grafana/dashboards anew from grafana/*.py
	@$(PY) -m grafana

# Resolves the ranges of pyproject.toml for every platform and Python >= 3.11. uv lives in a folder of
# its own; the header and the index's address stay out, so that the files are the same wherever made.
# What serves has wheels, but for one package: no other may run a setup.py at each installation.
UV_COMPILE = .run/lock/bin/uv pip compile --quiet --no-config --upgrade --universal --python-version 3.11 \
  --generate-hashes --no-header --no-emit-index-url --no-annotate

lock: ## write requirements.lock and requirements-dev.lock anew, from the ranges in pyproject.toml
	@test -x .run/lock/bin/uv || { $(PYTHON) -m venv .run/lock && .run/lock/bin/pip install -qq uv==$(UV_VERSION); }
	@$(UV_COMPILE) --group build -o requirements-build.lock
	@$(UV_COMPILE) --only-binary :all: --no-binary openapi-ui-bundles pyproject.toml -o requirements.lock
	@$(UV_COMPILE) pyproject.toml --all-extras --group dev --constraint requirements.lock -o requirements-dev.lock
	@$(UV_COMPILE) --group fuzz -o tests/fuzz/requirements.lock
	@$(UV_COMPILE) --group mutants -o tests/mutants/requirements.lock

sbom: $(READY) ## write a bill of materials of what serves (CycloneDX) to .run/sbom.json
	@mkdir -p .run
	@$(PY) -m tools.sbom > .run/sbom.json
	@echo ".run/sbom.json"

# Strict: a package of which nothing can be learnt, as without a network, fails it.
audit: ## ask for known vulnerabilities of what serves (pip-audit, in .run/audit); it needs the network
	@test -x .run/audit/bin/pip-audit || { $(PYTHON) -m venv .run/audit && .run/audit/bin/pip install -qq pip-audit==$(PIP_AUDIT_VERSION); }
	@.run/audit/bin/pip-audit --strict --require-hashes --disable-pip --progress-spinner off -r requirements.lock

clean: ## remove everything that was made, the virtual environment too
	@rm -rf $(VENV) $(RUN_VENV) $(FUZZ_VENV) $(MUTANTS_VENV) .clients .run .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .hypothesis \
	  .import_linter_cache build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
