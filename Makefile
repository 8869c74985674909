# Two commands for a fresh clone with Python 3.11+ and make: `make demo` and `make test`. Both set up .venv first.
SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# torch's CPU and CUDA builds share a version and differ in their hashes, so it stands outside the hashed lock.
TORCH := torch==2.13.0
DEMO_OUT ?= demo
DEMO_SEEDS ?= 2
PYTEST_ARGS ?=
# Hundreds of processes import the same modules: each module is compiled once, whatever the environment says.
export PYTHONDONTWRITEBYTECODE :=
# pip would compile every module of every package, one after the other; a tenth of them is ever imported.
PIP := $(BIN)/python -m pip install --quiet --no-compile
# What most processes import, compiled here, for those that may not write it later.
IMPORTED := torch, cv2, sklearn.manifold, skimage.segmentation, pyarrow.parquet, tessera.cli.main, services.trainer.compute
# Processes that pass the tests, each file by one of them: "auto" is one more than cores (tests/conftest.py); WORKERS=0
# is this one alone, as for a debugger.
WORKERS ?= auto
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 8 --dist loadfile --no-loadscope-reorder
IMAGES ?=
# The first interpreter that runs and fits pyproject's requires-python. A name on PATH may be a stub, so each is tried.
FITS := import sys, venv, ensurepip; raise SystemExit(not (3, 11) <= sys.version_info[:2] < (3, 14))
PYTHON ?= $(shell for name in python3.13 python3.12 python3.11 python3; do \
	if "$$name" -c '$(FITS)' >/dev/null 2>&1; then echo "$$name"; break; fi; done)

.DEFAULT_GOAL := help
SBOM ?= sbom.cdx.json
.PHONY: help setup demo test test-all bench images lint format types proto lock sbom clean

help: ## Show the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Create .venv with the project and its development tools.

$(STAMP): pyproject.toml $(wildcard locks/dev.lock)
	@if [ -z "$(PYTHON)" ]; then \
		echo "make setup: needs Python 3.11, 3.12 or 3.13 with the venv module (on Debian: python3-venv);" >&2; \
		echo "  found: $$(python3 --version 2>&1). Install one, or name it: make setup PYTHON=/path/to/python3.12" >&2; \
		exit 2; fi
	@echo "setting up $(VENV) with $$($(PYTHON) --version); the first time this takes a few minutes"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade "pip>=25.1"
	$(PIP) $(TORCH)
	@if [ -f locks/dev.lock ]; then \
		$(PIP) --require-hashes -r locks/dev.lock && $(PIP) --no-deps -e .; \
	else $(PIP) -e ".[cli,otel,onnx,cvat]" --group dev; fi
	@$(BIN)/python -W ignore -c "import $(IMPORTED)"
	@touch $@

demo: setup ## Compare random masks, MEAL masks and sets of classes at equal clicks on built-in street scenes; results in demo/.
	@$(BIN)/tessera demo --out $(DEMO_OUT) --seeds $(DEMO_SEEDS)

# Seconds that a test may take: three times what the slowest takes on a quiet machine. A busy one sets more.
test: export PYTEST_TIMEOUT ?= 150
test: setup ## Pass the tests (PYTEST_ARGS="-k name" for a part).
	$(PYTEST) $(PYTEST_ARGS)

test-all: setup ## Pass all tests, the long drills too (PYTEST_ARGS="-m full": those alone).
	$(PYTEST) -m "" $(PYTEST_ARGS)

bench: setup ## Print what the frame costs (tests/bench).
	$(BIN)/python -m pytest tests/bench -s --override-ini=addopts= --import-mode=importlib $(PYTEST_ARGS)

images: ## Build the images (IMAGES="BASE=… WHEELS=…" for a machine without a registry: deploy/README.md).
	deploy/docker/build.sh $(IMAGES)

lint: setup ## Check style and import rules.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

format: setup ## Format the code.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

types: setup ## Check types.
	$(BIN)/mypy

proto: setup ## Generate shared/tessera/pb from protos/.
	$(BIN)/python tools/generate_protos.py

lock: setup ## Write the hashed lock files.
	$(BIN)/python tools/lock.py

sbom: setup ## Write the bill of materials of what the images install (CycloneDX; SBOM=FILE).
	$(BIN)/python tools/sbom.py $(SBOM)

clean: ## Remove caches and what the demo wrote; .venv stays.
	rm -rf build dist demo .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find shared services tests tools -name __pycache__ -type d -prune -exec rm -rf {} +
