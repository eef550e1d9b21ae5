# Everything here works on its own, on a machine that has no more than a Python >= 3.11
# and make: each target first makes what it needs, and does nothing that is done already.

# Debian's own Python where it is new enough, else the first python3 on PATH.
PYTHON ?= $(shell /usr/bin/python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& echo /usr/bin/python3 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
# One worker more than cores, since tests wait for programs half of their time; four at most.
WORKERS := $(shell cores=$$(nproc 2>/dev/null || echo 1); echo $$((cores < 3 ? cores + 1 : 4)))
# A file's tests stay together: they share its registries.
PYTEST_ARGS ?= -n $(WORKERS) --dist loadfile
BENCH_ARGS ?=
FUZZ_ARGS ?=

.PHONY: help demo pipeline test fuzz bench peers lint format dev clean
.DELETE_ON_ERROR:

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST)

demo: $(VENV)/.installed ## the whole story on an embedded layout, in seconds
	$(BIN)/ocimodel demo

pipeline: $(VENV)/.dev ## train, evaluate, sign only what passed, train again; in seconds
	@rm -rf build/pipeline
	@PATH="$(CURDIR)/$(BIN):$$PATH" examples/pipeline/pipeline.sh build/pipeline

test: $(VENV)/.dev peers ## the whole suite, against real registries and peers
	$(BIN)/python -m pytest $(PYTEST_ARGS)

fuzz: $(VENV)/.fuzz ## what reads strangers' bytes, guided by atheris, each reader for 20 seconds
	$(BIN)/python -m tests.fuzz $(FUZZ_ARGS)

bench: $(VENV)/.bench peers ## speed against peers, into build/benchmarks, in ten minutes
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

peers: ## registries and tools of other projects, into .peers
	@.ci/peers

lint: $(VENV)/.dev ## ruff, its formatter, mypy
	@failed=0; for gate in "ruff check ." "ruff format --check ." mypy; do \
		echo "$$gate"; $(BIN)/$$gate || failed=1; done; exit $$failed

format: $(VENV)/.dev ## let ruff put things right
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

dev: $(VENV)/.dev ## the environment that the other targets use

clean: ## forget the environment and the peers
	rm -rf $(VENV) .peers

# --- the environment -------------------------------------------------------

$(BIN)/python:
	@.ci/venv "$(PYTHON)" "$(VENV)"

# Editable, so that a change of the code needs no new installation; only a
# change of what is depended upon does.
$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@ $(VENV)/.installed

$(VENV)/.bench: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	@touch $@ $(VENV)/.installed

$(VENV)/.fuzz: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev,fuzz]'
	@touch $@
