# `make demo` and `make test` set up all they need in a virtual environment, .venv.
.DELETE_ON_ERROR:
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO_ARGS ?=

.PHONY: help demo test test-all chaos image-check docs-samples lint format lock clean
help:
	@echo "make demo         set up .venv and run the weekly job on simulated data (DEMO_ARGS='--users 200000')"
	@echo "make test         set up .venv and run lint, types, import contract and tests (about 10 minutes)"
	@echo "make test-all     run all tests, including slow ones and make chaos (about an hour)"
	@echo "make chaos        make connections, servers, S3, workers and runs fail at hundreds of moments"
	@echo "make image-check  run the Dockerfile's steps without Docker, and score with the result"
	@echo "make docs-samples make a demo and write the samples of output and the picture in README and docs"
	@echo "make lint         check style, types and the import contract"
	@echo "make format       fix and format every file with ruff"
	@echo "make lock         renew the lock files from pyproject.toml (needs uv)"
	@echo "make clean        remove .venv and demo/"

demo: $(VENV)/.installed
	@$(BIN)/churn demo $(DEMO_ARGS)

test: $(VENV)/.installed-dev lint
	$(BIN)/python -m pytest

test-all: $(VENV)/.installed-dev lint
	$(BIN)/python -m pytest -m "not chaos"
	$(BIN)/python -m pytest -n 0 -m chaos

chaos: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 0 -m chaos

image-check: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 0 -m "" tests/deployments/test_image.py

docs-samples: $(VENV)/.installed-dev
	$(BIN)/python -m tests.support.docs_samples

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "churn needs Python 3.11 or newer: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@echo "Set-up 1: makes a virtual environment in $(VENV) (some seconds)"
	@$(PYTHON) -m venv $(VENV)

# pip's own lines name package indexes: its errors are shown, and what it is busy with is said here.
$(VENV)/.installed: requirements.lock pyproject.toml | $(BIN)/python
	@echo "Set-up 2: installs $$(grep -c == requirements.lock) packages (1 GB on the disk; downloads come first; a minute, on a slow machine five)"
	@$(call told,$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock)
	@echo "Set-up 3: installs churn itself (some seconds)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	@echo "Set-up 4: installs the packages that the tests need (a minute, on a slow machine five)"
	@$(call told,$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-dev.lock)
	@touch $@

# Runs pip, and says every ten seconds that it is at work.
told = ( while sleep 10 > /dev/null; do \
	seconds=$$((seconds + 10)); \
	echo "  ... $$seconds s, $$(ls -d $(VENV)/lib/python*/site-packages/*.dist-info 2>/dev/null | wc -l) packages are in place"; \
	done ) & beat=$$!; trap "kill $$beat 2>/dev/null" EXIT; $(1)

lock:
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --extra install \
		pyproject.toml -o requirements.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --extra aws \
		-c requirements.lock pyproject.toml -o requirements-aws.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --extra dev \
		-c requirements.lock -c requirements-aws.lock pyproject.toml -o requirements-dev.lock

clean:
	rm -rf $(VENV) demo
