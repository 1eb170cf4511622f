# `make` prints one line of help for each target.
VENV    ?= .venv
PYTHON  ?= python3
PORT    ?= 8000
SOAK_SECONDS ?= 3600
PYDAL_HEAD ?= git+https://github.com/web2py/pydal
BIN      = $(VENV)/bin
PYTEST   = $(BIN)/python -m pytest
STAMP    = $(VENV)/.installed
MEASURE  = .bench/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test check unit contract acceptance pages stress soak pydal-head reference bench build clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

setup: $(STAMP)  ## create the virtual environment and install all packages
$(STAMP): setup.py pyproject.toml
	@echo "Installing into $(VENV); this takes a minute the first time."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[demo,test]'
	@touch $(STAMP)

demo: $(STAMP)  ## start py4web, a worker and sample tasks; Ctrl+C ends them all
	@exec env PORT=$(PORT) $(BIN)/python apps/run_demo.py

test: $(STAMP)  ## run all tests; POSTGRES_URI=... MYSQL_URI=... to use existing servers
	@failed=0; \
	$(PYTEST) -n 4 --dist loadfile --no-loadscope-reorder -m 'not alone' tests/stress \
		tests/acceptance tests/pages tests/contract tests/unit tests/house || failed=1; \
	$(PYTEST) -m alone tests/stress || failed=1; \
	if [ $$failed = 1 ]; then echo "Some tests failed: see above."; exit 1; fi

check: $(STAMP)  ## check format, lint, types, structure, reference and vulnerabilities
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy plugin_scheduler models controllers
	$(PYTEST) -q tests/house
	$(BIN)/python docs/make_reference.py --check
	$(BIN)/python tests/audit.py

unit: $(STAMP)  ## run the fast tests of single modules and of the structure
	$(PYTEST) -q tests/unit tests/house

contract: $(STAMP)  ## run the tests of the API on every database
	$(PYTEST) tests/contract

acceptance: $(STAMP)  ## run the tests with the real command and real signals
	$(PYTEST) tests/acceptance

pages: $(STAMP)  ## run the tests of the web pages in a real browser; SCREENSHOTS=folder keeps screenshots
	$(PYTEST) tests/pages

stress: $(STAMP)  ## run the tests with killed processes under load
	$(PYTEST) tests/stress

soak: $(STAMP)  ## run mixed faults for a long time on each database; SOAK_SECONDS=3600, SEED=... repeats a run
	SOAK_SECONDS=$(SOAK_SECONDS) $(PYTEST) -s tests/stress/test_mixed_faults.py

pydal-head:  ## run unit and contract tests with pydal's development head; PYDAL_HEAD=... for another source
	$(PYTHON) -m venv .pydal-head
	.pydal-head/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[demo,test]'
	.pydal-head/bin/python -m pip install --quiet --disable-pip-version-check --upgrade '$(PYDAL_HEAD)'
	.pydal-head/bin/python -m pytest -q tests/unit tests/contract

reference: $(STAMP)  ## generate docs/reference from the code
	$(BIN)/python docs/make_reference.py

bench: $(MEASURE)  ## run the benchmark (an hour or two); BENCH="drain --rounds 1" for a part
	@exec .bench/bin/python -m bench $(BENCH)

$(MEASURE): setup.py pyproject.toml bench/requirements.txt
	@echo "Installing into .bench; this takes a minute the first time."
	$(PYTHON) -m venv .bench
	@echo '*' > .bench/.gitignore
	.bench/bin/python -m pip install --quiet --disable-pip-version-check \
		--requirement bench/requirements.txt --editable '.[demo]'
	@touch $(MEASURE)

build: $(STAMP)  ## build a wheel
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean:  ## remove all generated files
	rm -rf $(VENV) .pydal-head .bench .demo build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
