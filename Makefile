# Everything a person types here does its own set-up: a .venv inside the checkout, made once and again when
# pyproject.toml changes. It needs Python 3.10 to 3.13, git and make, and the network for the first `pip install`.
#
#   make test    linter, types and tests: some five minutes on two cores
#   make soak    the tests that take long, and the mutants: some hours
#   make demo    serve a 200 MB file on loopback, fetch it through 10 % loss, compare the bytes
#   make bench   whole transfers beside other tools, as a table and plots (docs/benchmarks.md); BENCH_FLAGS=--quick
#                makes it small; parts: make bench BENCHES='codec datapath stages storage startup transfer'
#   make lint    linter and types alone
#   make clean   remove everything that these made
#
# Another interpreter: make test PYTHON=/usr/bin/python3.12

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
PYTHON ?=
# Two for each processor: the tests of real processes mostly wait. What is left at the end goes to the worker that is idle.
WORKERS ?= $(shell echo $$(( 2 * $$(getconf _NPROCESSORS_ONLN || echo 1) )))
PYTEST_FLAGS ?= -n $(WORKERS) --dist worksteal
SOAK_FLAGS ?= -n auto --dist worksteal --timeout=3000 -o faulthandler_timeout=2900
BENCHES ?=
BENCH_FLAGS ?=

.DELETE_ON_ERROR:
.PHONY: test soak lint demo bench clean

# Where that is set, each of hundreds of commands in the tests compiles the package again.
test soak: export PYTHONDONTWRITEBYTECODE :=

test: lint
	$(BIN)/python -m pytest $(PYTEST_FLAGS)

soak: $(VENV)/.ready-dev
	$(BIN)/python -m pytest -m slow $(SOAK_FLAGS)
	$(BIN)/python -m tests.mutants

lint: $(VENV)/.ready-dev
	$(BIN)/ruff check .
	$(BIN)/mypy

demo: $(VENV)/.ready
	$(BIN)/python examples/demo.py

bench: $(VENV)/.ready-bench
ifeq ($(BENCHES),)
	@bench/peers/install.sh || echo "going on without what is missing"
	mkdir -p build
	$(BIN)/python -m bench.run --json build/bench.json $(BENCH_FLAGS)
	$(BIN)/python -m bench.plot build/bench.json --to build
else
	set -e; for name in $(BENCHES); do $(BIN)/python -m bench.$$name $(BENCH_FLAGS); done
endif

clean:
	rm -rf $(VENV) .demo .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
	find fountain tests bench examples -name __pycache__ -type d -prune -exec rm -rf {} +

# --- Set-up -------------------------------------------------------------------------------------------------

$(BIN)/python:
	@chosen=; for candidate in $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python3.10); do \
	    if $$candidate -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 14))' 2>/dev/null; \
	    then chosen=$$candidate; break; fi; \
	done; \
	if [ -z "$$chosen" ]; then \
	    echo "fountain needs Python 3.10 to 3.13, and none was found."; \
	    echo "hint: install one, or name it: make PYTHON=/path/to/python3.12"; exit 1; fi; \
	if ! $$chosen -c 'import venv, ensurepip' 2>/dev/null; then \
	    echo "$$chosen cannot make virtual environments: its ensurepip module is missing."; \
	    echo "hint: on Debian and Ubuntu: sudo apt-get install python3-venv"; exit 1; fi; \
	echo "Making $(VENV) with $$($$chosen --version) ..."; \
	$$chosen -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

# pip 25.1 is the first that installs dependency groups.
$(VENV)/.ready: pyproject.toml fountain/_version.py | $(BIN)/python
	@echo "Installing fountain into $(VENV) ..."
	$(PIP) install --upgrade 'pip>=25.1'
	$(PIP) install --editable .
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.ready
	@echo "Installing the test tools ..."
	$(PIP) install --group test --group lint
	@touch $@

$(VENV)/.ready-bench: $(VENV)/.ready
	@echo "Installing the plotting tools ..."
	$(PIP) install --group bench
	@touch $@
