# One line of help for each target: `make`.
VENV    ?= .venv
PYTHON  ?= python3
PORT    ?= 8000
SOAK_SECONDS ?= 3600
BIN      = $(VENV)/bin
PYTEST   = $(BIN)/python -m pytest
STAMP    = $(VENV)/.installed
MEASURE  = .bench/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test check unit contract acceptance pages stress soak reference bench build clean

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

setup: $(STAMP)  ## make the virtual environment and install everything
$(STAMP): setup.py pyproject.toml
	@echo "Installing into $(VENV); this takes a minute the first time."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[demo,test]'
	@touch $(STAMP)

demo: $(STAMP)  ## py4web, a worker and real work; Ctrl+C ends all of it
	@exec env PORT=$(PORT) $(BIN)/python apps/run_demo.py

test: $(STAMP)  ## every test; POSTGRES_URI=... MYSQL_URI=... to use servers of yours
	@failed=0; \
	$(PYTEST) -n 4 --dist loadfile --no-loadscope-reorder -m 'not alone' tests/stress \
		tests/acceptance tests/pages tests/contract tests/unit tests/house || failed=1; \
	$(PYTEST) -m alone tests/stress || failed=1; \
	if [ $$failed = 1 ]; then echo "Some tests failed: see above."; exit 1; fi

check: $(STAMP)  ## format, lint, types, the plan of the house, the reference, known holes
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy plugin_scheduler models controllers
	$(PYTEST) -q tests/house
	$(BIN)/python docs/make_reference.py --check
	$(BIN)/python tests/audit.py

unit: $(STAMP)  ## tests of seconds
	$(PYTEST) -q tests/unit tests/house

contract: $(STAMP)  ## what every database must do
	$(PYTEST) tests/contract

acceptance: $(STAMP)  ## the real command, real signals
	$(PYTEST) tests/acceptance

pages: $(STAMP)  ## the web pages in a real browser; SCREENSHOTS=folder keeps the pictures
	$(PYTEST) tests/pages

stress: $(STAMP)  ## kills under load
	$(PYTEST) tests/stress

soak: $(STAMP)  ## every kind of fault for long on each database; SOAK_SECONDS=3600, SEED=... repeats one
	SOAK_SECONDS=$(SOAK_SECONDS) $(PYTEST) -s tests/stress/test_mixed_faults.py

reference: $(STAMP)  ## write docs/reference from the code
	$(BIN)/python docs/make_reference.py

bench: $(MEASURE)  ## measure this and others; BENCH="drain --rounds 1" for a part (an hour or two)
	@exec .bench/bin/python -m bench $(BENCH)

$(MEASURE): setup.py pyproject.toml bench/requirements.txt
	@echo "Installing into .bench; this takes a minute the first time."
	$(PYTHON) -m venv .bench
	@echo '*' > .bench/.gitignore
	.bench/bin/python -m pip install --quiet --disable-pip-version-check \
		--requirement bench/requirements.txt --editable '.[demo]'
	@touch $(MEASURE)

build: $(STAMP)  ## a wheel
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean:  ## remove what was made
	rm -rf $(VENV) .bench .demo build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
