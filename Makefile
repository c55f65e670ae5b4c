.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
# One thread in each process: as many processes as cores share the work.
PARALLEL = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

help:  ## list what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 15

.venv/.installed: pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is missing; make PYTHON=…"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: .venv/.installed  ## install, then train a pre-trained network on pop-out arrays and look inside
	$(BIN)/python run.py trainer=demo backbone=efficientnet_lite0 data=popout

test: .venv/.installed  ## run the fast tests on all cores: minutes (those marked data need DEEPSAL_DATA)
	$(PARALLEL) -m 'not slow'

test-all: .venv/.installed  ## run every test, the slow ones too
	$(PARALLEL)

check: .venv/.installed  ## formatting, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: .venv/.installed  ## side-by-side timings; ONLY=name runs one
	$(BIN)/python -m tests.bench $(if $(ONLY),--only $(ONLY))

gpu: .venv/.installed  ## what an NVIDIA GPU has to show, in one table: minutes
	$(BIN)/python -m tests.gpu

reference: .venv/.installed .reference/.installed  ## compare scores with pysaliency again, in its own environment
	PYTHONPATH=. .reference/bin/python -m tests.reference.generate
	$(BIN)/python -m pytest tests/reference

.reference/.installed: Makefile
	$(PYTHON) -m venv .reference
	.reference/bin/pip install --quiet 'numpy<2.4' 'setuptools<81' pysaliency==0.2.22 pandas torch
	@touch $@

study: .venv/.installed  ## run a study and draw it; NAME=depth ARGS="options" (hours; needs DEEPSAL_DATA)
	@test -f "experiments/$(NAME)/study.sh" || { echo "there is no study '$(NAME)'; set NAME= one of: $(STUDIES)"; exit 1; }
	@test -d "$$DEEPSAL_DATA" || { echo "set DEEPSAL_DATA to the folder that holds osie/ and nus_scene/"; exit 1; }
	PATH="$(CURDIR)/$(BIN):$$PATH" sh -eux experiments/$(NAME)/study.sh $(ARGS)

STUDIES = $(patsubst experiments/%/study.sh,%,$(wildcard experiments/*/study.sh))

studies: .venv/.installed  ## run every study of experiments/ (hours; needs DEEPSAL_DATA)
	for name in $(STUDIES); do $(MAKE) study NAME=$$name || exit 1; done

studies-smoke: .venv/.installed  ## run a small variant of every study, on generated images: minutes
	$(PARALLEL) tests/experiments

clean:  ## remove the environment and all caches; runs/ stays
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help demo test test-all check bench gpu reference study studies studies-smoke clean
