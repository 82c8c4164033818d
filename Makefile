# Everything from a clean clone: `make demo` (a run on real built-in data) and `make test`.
# Packages are installed in the versions that the suite passed with; `make test CONSTRAINTS=` tries the newest ones, in
# an environment of their own, and `make constraints` writes down those that it passed with.
CONSTRAINTS ?= constraints.txt
VENV ?= $(if $(CONSTRAINTS),.venv,.venv-newest)
PYTHON ?= python3
BIN := $(VENV)/bin
DEMO_OUT ?= runs/demo

.PHONY: demo test test-slow check bench site constraints clean

$(VENV)/.ready: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet $(if $(CONSTRAINTS),--constraint $(CONSTRAINTS),--upgrade --upgrade-strategy eager) --editable '.[dev]'
	@touch $@

demo: $(VENV)/.ready
	$(BIN)/python jobs/noisy_means.py quick --out $(DEMO_OUT)
	@echo "Report: $(abspath $(DEMO_OUT))/internal/report.html"

# Dozens of processes import raysyn: it is compiled once, also where the environment keeps Python from writing that down.
test: $(VENV)/.ready
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder

test-slow: $(VENV)/.ready
	$(BIN)/python -m pytest -m slow

check: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy raysyn jobs examples
	$(BIN)/mypy benchmarks

bench: $(VENV)/.ready
	$(BIN)/python benchmarks/dp_sgd.py
	$(BIN)/python benchmarks/sampling.py

# The pages as a site in build/site: it breaks off at a link that leads nowhere and at a page that no list names.
site: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	rm -rf build/pages build/site && mkdir -p build/pages
	tar cf - --exclude __pycache__ *.md LICENSE CITATION.cff docs/*.md docs/results/*.md docs/site.css docs/dashboard.png raysyn/methods/*/README.md examples/*.py examples/*.txt examples/own_method clusters \
	| tar xf - -C build/pages
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Only what passes is written down: check and test come first, with the newest versions in a new environment.
constraints:
	rm -rf .venv-newest
	$(MAKE) check test CONSTRAINTS= VENV=.venv-newest
	@{ echo "# The versions that the suite passed with, under $$(.venv-newest/bin/python -V) on Linux; \`make constraints\` renews"; \
	echo "# them. They only limit what is installed anyway. What PyTorch itself pins (CUDA, triton) is left to it."; \
	.venv-newest/bin/python -m pip freeze --all --exclude-editable --exclude pip --exclude setuptools \
	| grep -E '^[A-Za-z0-9._-]+==' | sed 's/+.*//' | grep -vE '^(nvidia|cuda)-|^triton=='; } > constraints.txt
	@cat constraints.txt

clean:
	rm -rf .venv .venv-newest $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
