# make: set-up and every check of edgekd. `make` alone lists the targets.
PYTHON ?= python3
TORCH_INDEX ?=
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# One thread a test worker: two of them on two cores would only fight over them.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n 2

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo test test-slow check docs teacher quickstart-study clean

help: ## List the targets.
	@echo 'make TARGET [PYTHON=python3.12] [TORCH_INDEX=URL]'
	@echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1@\2/p' $(MAKEFILE_LIST) | awk -F@ '{printf "%-20s %s\n", $$1, $$2}'
	@echo
	@echo 'PYTHON       the interpreter to build $(VENV) from, at least 3.11'
	@echo 'TORCH_INDEX  package index to take torch from, for a CPU-only wheel instead of the gigabytes of CUDA'
	@echo '             packages that come with it on Linux: TORCH_INDEX=https://download.pytorch.org/whl/cpu'

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: '$(PYTHON)' is missing or older than Python 3.11; name another: make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(if $(TORCH_INDEX),$(BIN)/pip install --no-deps --index-url $(TORCH_INDEX) -c constraints.txt torch)
	$(BIN)/pip install -c constraints.txt -e ".[cpu,train,qat,dev]"
	@touch $@

install: $(INSTALLED) ## Create .venv and install edgekd with all that it is developed with, pinned.

demo: $(INSTALLED) ## Run the quickstart recipe: distill, export, quantize, validate, gate, report, bundle.
	$(BIN)/edgekd run recipes/quickstart.toml

test: $(INSTALLED) ## Run the tests; under three minutes.
	$(PYTEST)

test-slow: $(INSTALLED) ## Run the slow tests: whole runs, kill -9, packaging.
	$(PYTEST) -m 'slow and not gpu' --durations=12

check: $(INSTALLED) ## Check format, lint and types.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: $(INSTALLED) ## Write docs/recipe.md, docs/cli.md and edgekd/recipe.schema.json from the code.
	$(BIN)/python docs/generate.py

teacher: $(INSTALLED) ## Retrain the teacher that ships with edgekd (needs Debian's dataset-fashion-mnist).
	$(BIN)/edgekd distill recipes/teacher-fashion-mnist.toml --out runs/teacher-fashion-mnist
	$(BIN)/python -m benchmarks.ship_teacher runs/teacher-fashion-mnist

quickstart-study: $(INSTALLED) ## Student alone, KD and CIST over three seeds: the README's numbers.
	$(BIN)/python -m benchmarks.quickstart_study

clean: ## Remove .venv, caches and builds; runs/ stays.
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
