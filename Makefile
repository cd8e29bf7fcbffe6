# make demo: the main job on 50 real digits.   make test: every check that CI runs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# Another environment that already has everything can be used instead: make test BIN=/path/to/bin INSTALLED=


.PHONY: demo smallest test lint types tests explore install

demo: $(INSTALLED)
	$(BIN)/understudy run digits --shots 5 --preset quick --out demo

# The demo at its smallest, and the other commands a change can break without a unit test noticing.
smallest: $(INSTALLED)
	rm -rf build/smallest && mkdir -p build/smallest
	$(BIN)/understudy run digits --shots 3 --preset quick --out build/smallest/run --set adapt.steps=20 --set draw.per_class=6 \
		--set compare.steps=20
	$(BIN)/python -m benchmarks.check_results build/smallest/run/results.json
	$(BIN)/python -m understudy.generators.mini.pretrain --smoke --out build/smallest/mini
	$(BIN)/python -m benchmarks.main_job --smoke --out build/smallest/main_job.json --runs build/smallest/runs
	$(BIN)/python -m benchmarks.real_fake --smoke --out build/smallest/real_fake.json --runs build/smallest/real_fake
	$(BIN)/python -m benchmarks.bridged_transfer --smoke --out build/smallest/bridged_transfer.json --runs build/smallest/bridged
	$(BIN)/python -m benchmarks.style_inversion --smoke --out build/smallest/style_inversion.json --runs build/smallest/style
	$(BIN)/python -m benchmarks.natural_images --smoke --out build/smallest/natural_images.json --runs build/smallest/natural
	$(BIN)/python -m benchmarks.content_gap --smoke --out build/smallest/content_gap.json --runs build/smallest/content_gap
	$(BIN)/python -m benchmarks.content_gap_class_conditional --smoke --out build/smallest/class_conditional.json \
		--runs build/smallest/class_conditional
	$(BIN)/python -m benchmarks.content_gap_cifar10 --smoke --out build/smallest/content_gap_cifar10.json --runs build/smallest/cifar10
	$(BIN)/python -m benchmarks.proof --smoke --out build/smallest/proof.json --runs build/smallest/proof
	$(BIN)/python -m benchmarks.shadow_ensembles --smoke --out build/smallest/shadow_ensembles.json

test: lint types tests

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell

types: $(INSTALLED)
	$(BIN)/mypy

tests: $(INSTALLED)
	$(BIN)/python -m pytest -n auto

# Properties on examples that no run has tried; what fails becomes an @example.
explore: $(INSTALLED)
	HYPOTHESIS_PROFILE=explore $(BIN)/python -m pytest -n auto tests -m hypothesis

install: $(INSTALLED)

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV) || { echo "python3 -m venv does not work here; on Debian: apt-get install python3-venv"; exit 1; }
	@echo "installing PyTorch and its companions into $(VENV): about 6 GB, some minutes"
	$(VENV)/bin/python -m pip install --quiet --upgrade pip
	$(VENV)/bin/python -m pip install --quiet -e '.[dev]'
	touch $@
