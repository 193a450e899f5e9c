# `make demo` does the real thing from a fresh clone, `make test` checks everything.
# Needs Python >= 3.11 (with venv and pip) and make; nothing else.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo test faults bench dist-check clean
.SHELLFLAGS := -ec

PYTHON ?= python3
DEMO_DIR ?= demo-out
PYTEST_ARGS ?= -n 2
FAULTS_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
# The first pip that a new venv brings may be too old to know --group and --build-constraint.
PIP_VERSION := 26.2
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
INSTALLED := $(VENV)/.installed
CHECK_VERSION := import sys; sys.exit("Python 3.11 or later is needed, this is %d.%d; \
set PYTHON=/path/to/python" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)

help:
	@echo 'make install  environment in $(VENV), with the built-in model'
	@echo 'make demo     annotate the sample, show it and check it'
	@echo 'make test     ruff, mypy and pytest'
	@echo 'make faults   kill, fail, fill, corrupt: the fault campaign, long form'
	@echo 'make bench    speed of the segmenters, beside ruptures'
	@echo 'make dist-check  build wheel and sdist, try both in fresh environments (PIP_ARGS: more words for pip)'
	@echo 'make clean    remove the environment and everything made'

install: $(INSTALLED)

# Written last: an installation that was stopped is done again.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c '$(CHECK_VERSION)'
	@echo 'Installing into $(VENV); this takes a few minutes the first time.'
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install pip==$(PIP_VERSION)
	@$(PIP) install -c constraints.txt --build-constraint constraints.txt -e '.[builtin,judge,ray,report,train]' \
		--group dev
	@$(BIN)/asr-annotate install-builtin >/dev/null
	@touch $@

demo: install
	@$(BIN)/asr-annotate demo --output $(DEMO_DIR) --overwrite
	@echo '  # first, once per shell, to have these commands at hand'
	@echo '  . $(BIN)/activate'

# One thread per process: the models in the tests are too small to gain from more. Two processes: two cores are
# what a small machine has.
test: export OMP_NUM_THREADS := 1
test: export TOKENIZERS_PARALLELISM := false
test: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest $(PYTEST_ARGS)

faults: export OMP_NUM_THREADS := 1
faults: install
	$(BIN)/python -m tests.faults.campaign $(FAULTS_ARGS)

bench: install
	$(BIN)/python -m benchmarks.segments

# Outside of the checkout; takes minutes, and some gigabytes while it runs.
dist-check:
	@$(PYTHON) -c '$(CHECK_VERSION)'
	@$(PYTHON) tests/distribution/check.py

clean:
	rm -rf $(VENV) $(DEMO_DIR) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find asr_data cli schemas tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
