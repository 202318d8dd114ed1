# Works on a machine that has only make and Python >= 3.10: the environment is made in .venv, with
# the versions of constraints.txt.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Extras of setup.cfg that the environment gets; .ci/run takes all that tests can use.
EXTRAS ?= test
# One stamp a choice of extras: another choice installs what is missing.
READY := $(VENV)/.ready-$(EXTRAS)
# Environment that `make wheel` empties and fills.
WHEEL_VENV ?= build/wheel

# Where the main job keeps its stages and its report, and the records it uses. Without DATA the
# job makes its own recording.
WORKDIR ?= runs/selfsup
DATA ?=
# Flags that are added to the main job, for example RUN_FLAGS=--seed=2.
RUN_FLAGS ?=
# The trained network, and the benchmarks, of `make bench`.
MODEL ?= $(WORKDIR)/pose.keras
BENCHMARKS ?= data_terms,synthesis,record_reading,nyu_conversion,networks,train_step,frame,live,runtimes
# Seeds, and rows if not all, of `make experiments`, for example ROWS=--only=best,with_labels.
SEEDS ?= 1
ROWS ?=
SIZE ?= configs/overnight.flags
# Test processes, and arguments for pytest.
JOBS ?= 3
PYTEST_FLAGS ?=
# Flags of make fuzz.
FUZZ_FLAGS ?=

export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: help run test docs wheel fuzz bench experiments weights lint clean distclean

help:
	@echo "make run    the main job: data, training, report in WORKDIR (now: $(WORKDIR))"
	@echo "make test   lint and the full test suite"
	@echo "make docs   the site, build/site/index.html; a broken link is an error"
	@echo "make wheel  build dist/*.whl, and try it in an empty environment outside of the checkout"
	@echo "make fuzz   read thousands of damaged files of every format; FUZZ_FLAGS=--seed=2 for others"
	@echo "make bench  all benchmarks, into benchmarks/RESULTS.md; MODEL is the network that is timed"
	@echo "make experiments  every experiment of the paper, into docs/experiments/rows.md; SEEDS=1,2,3"
	@echo "make weights      train the weights that come with the package, and put them in place"
	@echo "make lint   lint only"
	@echo "make clean  remove caches and build products; distclean also removes $(VENV)"

run: $(READY)
	$(BIN)/python -m tfhand.train --flagfile=configs/selfsup.flags --workdir=$(WORKDIR) \
	    $(if $(DATA),--data_dir=$(DATA)) $(RUN_FLAGS)

test: lint
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(PYTEST_FLAGS)

docs: $(VENV)/.ready-docs
	rm -rf build/site
	$(BIN)/python -m sphinx -q -W --keep-going -E -d build/doctrees -c docs . build/site
	cp build/site/README.html build/site/index.html

wheel:
	rm -rf dist build/lib build/bdist.*
	$(PYTHON) -m venv --clear $(WHEEL_VENV)
	$(WHEEL_VENV)/bin/python -m pip wheel --disable-pip-version-check --no-deps -w dist .
	$(WHEEL_VENV)/bin/python -m pip install --disable-pip-version-check -c constraints.txt dist/*.whl
	.ci/wheel $(WHEEL_VENV)

fuzz: $(READY)
	$(BIN)/python -m tests.fuzz.run $(FUZZ_FLAGS)

bench: $(READY)
	$(BIN)/python benchmarks/results.py --model=$(MODEL) --only=$(BENCHMARKS)

experiments: $(READY)
	$(BIN)/python -m experiments --size_flags=$(SIZE) --seeds=$(SEEDS) $(ROWS)

weights: $(READY)
	$(BIN)/python -m tfhand.train --flagfile=configs/weights.flags --workdir=runs/weights
	$(BIN)/python -m tfhand.pack --workdir=runs/weights

lint: $(READY)
	$(BIN)/ruff check .

clean:
	rm -rf build dist docs/api *.egg-info .pytest_cache .ruff_cache
	find tfhand data_prep experiments tests benchmarks -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

distclean: clean
	rm -rf $(VENV)

# The stamp comes last: an interrupted installation is taken up again.
$(VENV)/.ready-%: setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; \
	    sys.exit(v < (3, 10) and f"expected Python >= 3.10, found {v.major}.{v.minor}; set PYTHON=...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[$*]'
	touch $@
