# One environment in .venv, made once and again only when pyproject.toml, the pins or the C++ sources change.
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
CONSTRAINTS := constraints/cpu-py311.txt
EXTRAS := train,mlflow,plot,demo,onnx,robot,live,dev
NATIVE := $(wildcard $(addprefix kernels/mambats_kernels/native/,*.h *.cpp build.py))

# The first of these that starts and is new enough; PYTHON=... overrides.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3 python; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' >/dev/null 2>&1 && echo $$p && break; done)

.PHONY: help setup demo test test-slow test-gpu lint types format audit wheel clean

help:
	@echo 'make setup      virtual environment in .venv with pinned versions'
	@echo 'make demo       train, score and stream the demonstration recipe'
	@echo 'make test       tests that take seconds'
	@echo 'make test-slow  tests that take longer'
	@echo 'make test-gpu   tests that need a GPU, with the python on PATH'
	@echo 'make lint       ruff, pyright, the floors and the dependencies'
	@echo 'make audit      dependencies, asking the package index and pip-audit too'
	@echo 'make wheel      a wheel in dist/, with the native library if there is a C++ compiler'

setup: $(READY)

$(READY): pyproject.toml setup.py $(CONSTRAINTS) $(NATIVE)
	@test -n "$(PYTHON)" || { echo 'No Python 3.11, 3.12 or 3.13 found: install one, or name it with make PYTHON=/path/to/python.' >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo '$(PYTHON) cannot make a virtual environment: install its venv module (Debian and Ubuntu: python3-venv).' >&2; exit 2; }
	$(BIN)/python -m pip install --disable-pip-version-check -c $(CONSTRAINTS) -e '.[$(EXTRAS)]'
	@touch $@

demo: setup
	$(BIN)/mambats demo

# Two processes on two cores halve the time: 344 s instead of 687.
test: setup
	$(BIN)/python -m pytest -n logical --maxprocesses 8 --dist worksteal

test-slow: setup
	$(BIN)/python -m pip install --disable-pip-version-check -q -c $(CONSTRAINTS) -e '.[rivals]'
	$(BIN)/python -m pytest -m 'slow and not gpu'

# A GPU machine brings its own torch: no environment is made here. Compiling kernels is most of the time: with pytest-xdist
# there, a dozen processes share it (one alone takes over half an hour).
test-gpu:
	OMP_NUM_THREADS=1 python3 -m pytest -m gpu $(shell python3 -c 'import xdist' 2>/dev/null && echo '-n 12 --dist worksteal')

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	$(BIN)/python tests/audit.py

audit: setup
	$(BIN)/python tests/audit.py --online

types: setup
	$(BIN)/pyright --pythonpath $(BIN)/python

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

wheel: setup
	$(BIN)/python -m build --wheel --outdir dist .

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis .import_linter_cache
