# The commands of the project; `make` alone lists them.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# To use an environment that already has everything: make test BIN=/path/to/bin INSTALLED=

# Tests that do no whole run and no search for copies. For others: make quick QUICK=tests/training
QUICK ?= tests/test_house.py tests/core tests/functional tests/data tests/sampling tests/curation
# Compiled files are kept, although images for containers often say otherwise: each process would compile
# the package again, and each worker all tests.
export PYTHONDONTWRITEBYTECODE :=
PYTEST := $(BIN)/python -m pytest -n auto --dist loadscope

.PHONY: help demo smallest test lint types tests slow quick coverage format docs house explore constraints install

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

demo: $(INSTALLED)  ## the whole job on 50 real digits, without a GPU: about 3 minutes on two idle cores, or ten on a busy machine
	$(BIN)/understudy run digits --shots 5 --preset quick --out demo

smallest: $(INSTALLED)  ## the demo, and the benchmarks with a few steps each
	rm -rf build/smallest && mkdir -p build/smallest
	$(BIN)/understudy run digits --shots 3 --preset quick --out build/smallest/run \
		--set adapt.steps=20 --set draw.per_class=6 --set compare.steps=20
	$(BIN)/python -m benchmarks.check_results build/smallest/run/results.json
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.smallest build/smallest

test: lint types tests  ## what must pass before every commit: lint, types, tests

lint: $(INSTALLED)  ## ruff and codespell
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell

types: $(INSTALLED)  ## mypy --strict
	$(BIN)/mypy

tests: $(INSTALLED)  ## every test but the slow ones
	$(PYTEST) -m "not slow"

slow: $(INSTALLED)  ## the slow tests: whole jobs in many variants, runs that are killed, browsers
	$(PYTEST) -m slow

quick: $(INSTALLED)  ## ruff, and the tests that do no whole run: about a minute; QUICK=FOLDERS for others
	$(BIN)/ruff check .
	$(PYTEST) -q -m "not slow" -k "not cop" $(QUICK)

coverage: $(INSTALLED)  ## every test, the slow ones included, and which lines none of them reaches
	$(PYTEST) --cov=understudy --cov-report=term-missing:skip-covered

format: $(INSTALLED)  ## put the code into the project's form, and mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(INSTALLED)  ## write the generated pages and tables, then build the site in build/site; a broken link fails
	$(BIN)/python -m benchmarks.render
	$(BIN)/python docs/generate.py
	$(BIN)/python -m sphinx --fresh-env --fail-on-warning --keep-going --quiet -d build/doctrees docs build/site
	@echo build/site/index.html

house: $(INSTALLED)  ## figures of the code: longest file, lengths of functions, parameters
	$(BIN)/python tests/house.py

explore: $(INSTALLED)  ## property tests on examples that no run has tried; what fails becomes an @example
	HYPOTHESIS_PROFILE=explore $(BIN)/python -m pytest -n auto tests -m hypothesis

constraints: $(INSTALLED)  ## write the installed versions to constraints.txt
	sed -i.old '/^[^#]/d' constraints.txt && rm constraints.txt.old
	$(BIN)/python -m pip freeze --exclude-editable | grep -viE '^(nvidia|cuda|triton)|@' >> constraints.txt

install: $(INSTALLED)  ## the environment in .venv, about 6 GB

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV) || { echo "python3 -m venv does not work here; on Debian: apt-get install python3-venv"; exit 1; }
	@echo "installing PyTorch and the other packages into $(VENV): about 6 GB, some minutes"
	$(VENV)/bin/python -m pip install --quiet --upgrade pip
	$(VENV)/bin/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@
