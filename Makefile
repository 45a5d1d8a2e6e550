# `make demo` and `make test` set up what they need: a Python 3.11 or newer, git, make and a network.
#
# Installing: every package at a pinned version with its hash, wheels only, so that neither a compiler
# nor anybody's set-up script takes part. By uv where it is on PATH (seconds when its cache is warm),
# otherwise by the pip of the environment: both are there or come with Python, each honours its own
# settings for proxies, certificates and mirrors, and nothing unpinned is fetched to fetch the rest.

VENV := .venv
BIN := $(VENV)/bin
UV := $(shell uv --version >/dev/null 2>&1 && command -v uv)

# The first of these that runs and is new enough; `make PYTHON=/path/to/python` overrides.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
    $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; \
    done)

# --no-deps: the files list the whole closure; asteroid's own metadata would refuse our torchmetrics.
ifneq ($(UV),)
INSTALL := $(UV) pip install --python $(BIN)/python --no-deps
# As pip does by itself; else the tests' first processes would compile the same files side by side.
BYTECODE := --compile-bytecode
else
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --no-deps
endif
# Byte code is kept even where the environment says not to: the tests start hundreds of processes, each
# of which would compile PyTorch's 2,000 files anew.
unexport PYTHONDONTWRITEBYTECODE

PINNED := --require-hashes --only-binary :all: -r

COMPILE := $(or $(UV),uv) pip compile pyproject.toml --constraint requirements/constraints.txt \
    --universal --fork-strategy fewest --python-version 3.11 --only-binary :all: \
    --generate-hashes --no-emit-index-url --custom-compile-command "make requirements" --quiet

.PHONY: help demo test test-slow test-nightly mutants soak lint types docs requirements clean

help:
	@echo "make demo          separate a scene by text"
	@echo "make test          run the tests, but for the slow ones"
	@echo "make test-slow     run the slow tests"
	@echo "make test-nightly  run the tests that are left out of both"
	@echo "make mutants       see that the tests notice mistakes made on purpose"
	@echo "make soak          kills, full disks, damaged files and hostile texts by the hundred (an hour)"
	@echo "make lint          ruff: rules and formatting"
	@echo "make types         mypy, on the wheel and the tests"
	@echo "make docs          build the documentation into site/, offline"
	@echo "make requirements  pin again the newest versions in range (needs uv)"
	@echo "make clean         remove the environment and all that was made here"

demo: $(BIN)/.main
	$(BIN)/qsep separate recipes/demo/scene.flac -q "a person talking" -q "a flute" -q "rain" \
	    -q "the drums" -q "everything but the drums" -o demo-output --overwrite
	$(BIN)/python -m qsep.recipes.demo.listen demo-output

# Workers begin with runs of neighbouring tests, so that the fixtures of a file are mostly built once,
# and take from each other at the end. `make test WORKERS=0` runs everything in one process.
WORKERS ?= 2
PYTEST := $(BIN)/pytest --numprocesses $(WORKERS) --dist worksteal

# These fork, which is safe only in processes that have not started other libraries' threads.
FORKING := tests/train tests/soak

# Both parts run, also after a failure in the first.
test: $(BIN)/.test
	@failed=0; \
	$(PYTEST) -m "not slow" $(FORKING) || failed=1; \
	$(PYTEST) -m "not slow" $(FORKING:%=--ignore %) || failed=1; \
	exit $$failed

test-slow: $(BIN)/.test
	@failed=0; \
	$(PYTEST) -m "slow and not nightly" $(FORKING) || failed=1; \
	$(PYTEST) -m "slow and not nightly" $(FORKING:%=--ignore %) || failed=1; \
	exit $$failed

test-nightly: $(BIN)/.test
	$(PYTEST) -m nightly

# Mistakes made on purpose, which the tests must notice; `make mutants ONLY=chunks.py` tries some of them.
mutants: $(BIN)/.test
	$(BIN)/python tests/mutants.py $(ONLY)

# Faults by the hundred, for the night. `make soak PARTS=kills SEED=7 ONLY=123` repeats one trial,
# TRIALS=50 makes fewer of each part.
PARTS :=
SOAK := $(if $(SEED),--seed $(SEED)) $(if $(TRIALS),--trials $(TRIALS)) $(if $(ONLY),--only $(ONLY))

soak: $(BIN)/.test
	OMP_NUM_THREADS=1 PYTHONPATH=tests:tests/support $(BIN)/python -P -m soak $(PARTS) $(SOAK)

lint: $(BIN)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# mypy cannot follow the mapping of an editable install, so it reads the wheel that users get; and the
# tests and the scripts of the documentation, as strictly.
types: $(BIN)/.test
	@rm -rf build .types
	@mkdir -p .types
	@echo "Building the wheel into .types"
	@$(BIN)/python -c "from setuptools import build_meta; build_meta.build_wheel('.types')" \
	    >.types/log 2>&1 || { cat .types/log; exit 1; }
	@rm -rf build
	@$(BIN)/python -m zipfile -e .types/qsep-*.whl .types/installed
	MYPYPATH=.types/installed $(BIN)/mypy .types/installed/qsep tests docs

# griffe reads packages from their folders: one folder with the names that are installed, linked.
docs: $(BIN)/.test
	@rm -rf .docs && mkdir -p .docs/qsep
	@for room in queries separation evaluation recipes; do ln -s ../../$$room .docs/qsep/$$room; done
	@ln -s ../../qsep/__init__.py .docs/qsep/__init__.py
	NO_MKDOCS_2_WARNING=true $(BIN)/mkdocs build --quiet
	@echo "site/index.html"

requirements:
	$(COMPILE) --all-extras -o requirements/test.txt --upgrade
	$(COMPILE) --extra train --constraint requirements/test.txt -o requirements/main.txt --upgrade
	$(COMPILE) --extra serve --constraint requirements/test.txt -o requirements/serve.txt --upgrade

clean:
	rm -rf $(VENV) .docs site .types build *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache demo-output
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Stamps: installed again only when the pins or the project's own metadata change. What the tests
# need contains what the demo needs, at the same versions, so .test makes .main superfluous.
$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "qsep needs Python 3.11 or newer on PATH (or: make PYTHON=/path/to/python3)" >&2; exit 1; }
	@echo "Setting up $(VENV) with $$($(PYTHON) --version); the first time takes a few minutes"
ifneq ($(UV),)
	@$(UV) venv --quiet --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" $(VENV)
else
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
endif

$(BIN)/.main: requirements/main.txt pyproject.toml | $(BIN)/python
	@echo "Installing requirements/main.txt (PyTorch is most of it: some gigabytes on Linux)"
	$(INSTALL) $(PINNED) requirements/main.txt
	@$(INSTALL) --quiet --no-build-isolation --editable .
	@touch $@

$(BIN)/.test: requirements/test.txt pyproject.toml | $(BIN)/python
	@echo "Installing requirements/test.txt (PyTorch is most of it: some gigabytes on Linux)"
	$(INSTALL) $(BYTECODE) $(PINNED) requirements/test.txt
	@$(INSTALL) --quiet --no-build-isolation --editable .
	@touch $(BIN)/.main $@
