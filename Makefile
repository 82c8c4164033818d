# Everything from a clean clone: `make demo` (a run on real built-in data) and `make test`.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
DEMO_OUT ?= runs/demo

.PHONY: demo test test-slow check bench clean

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

demo: $(VENV)/.ready
	$(BIN)/python jobs/dp_feta.py quick --out $(DEMO_OUT)
	@echo "Report: $(abspath $(DEMO_OUT))/internal/report.html"

test: $(VENV)/.ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder

test-slow: $(VENV)/.ready
	$(BIN)/python -m pytest -m slow

check: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy raysyn jobs examples

bench: $(VENV)/.ready
	$(BIN)/python benchmarks/dp_sgd.py
	$(BIN)/python benchmarks/sampling.py

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
