# Two commands: `make site` and `make test`. Both set up what they need in .venv and do it again only when
# pyproject.toml or constraints.txt changed.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
SITE_ARGS ?=
TEST_ARGS ?=

# Spinning OpenMP threads slow everything down as soon as two programs share the cores.
export OMP_WAIT_POLICY ?= passive

.DEFAULT_GOAL := help
.PHONY: help site test serve benchmark lint types format check clean

help:  ## list the commands
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

site: $(VENV)/.run  ## evaluate the shipped models, export the samples, build _site/
	$(BIN)/python build_site.py $(SITE_ARGS)

test: $(VENV)/.dev  ## run the tests
	$(BIN)/python -m pytest $(TEST_ARGS)

serve: $(VENV)/.run  ## build, then serve the site with live reload
	$(BIN)/python build_site.py --serve $(SITE_ARGS)

benchmark: $(VENV)/.dev  ## measure speed and quality against the baseline
	$(BIN)/python -m pytest --benchmark

lint: $(VENV)/.dev  ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev  ## mypy, strict
	$(BIN)/mypy

format: $(VENV)/.dev  ## let ruff put the code in form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

check: $(VENV)/.run  ## links, media and HTML of the built site
	$(BIN)/python -m paper_site check _site

clean:  ## remove what the commands made, but not .venv
	git clean -fdqX -- _site _results _data assets .cache

# The lists of packages are read from pyproject.toml, so that they stand in one place.
PACKAGES = $(BIN)/python -c 'import sys, tomllib; p = tomllib.load(open("pyproject.toml", "rb"))["project"]; print(*p["dependencies"], *(d for e in sys.argv[1:] for d in p["optional-dependencies"][e]), sep="\n")'

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is older than Python 3.11; name a newer one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "error: $(PYTHON) cannot make a virtual environment; on Debian: apt-get install python3-venv" >&2; exit 2; }

$(VENV)/.run: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PACKAGES) > $(VENV)/requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -r $(VENV)/requirements.txt
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PACKAGES) dev > $(VENV)/requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -r $(VENV)/requirements-dev.txt
	@touch $@ $(VENV)/.run
