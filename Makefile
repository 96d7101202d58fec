# make run   trains a translator on the sentences that come along, scores it, and translates with it
# make test  lints, checks types and imports, and runs every test
# make test-quick  does the same without the slow tests, in less than two minutes
# make docs  writes the reference pages, builds the documents as a site in build/docs, and checks their links
# make test-isa  repeats the tests that depend on the CPU's instruction set with smaller instruction sets
#
# All set themselves up in $(VENV); all they need is Python 3.11 or later, as $(PYTHON).

PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2

BIN := $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable
SAMPLE := runs/wmt_en_de-sample
SENTENCES := "Please put the most important letter behind the bed." \
  "Although Emma is sick, she can put gloves into the box." \
  "There were many carpets in a hotel."

# Limits on the instruction sets of oneDNN and of torch's own kernels. The first pair is a CPU with AVX2 only.
FEWER := ONEDNN_MAX_CPU_ISA=AVX2,ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 \
  ATEN_CPU_CAPABILITY=default

# The files with tests for test-isa, and how tests are shared among workers: by file, the slow ones first.
ISA = tests/laws $(shell grep --recursive --files-with-matches --include='test_*.py' mark.isa tests)
SHARED := --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: run test test-quick test-isa lint types imports docs clean

run: $(VENV)/installed
	$(BIN)/seqx run recipes/wmt_en_de.yaml --profile sample
	@printf '\nThree sentences that it never saw, and what it makes of them:\n'
	@printf '%s\n' $(SENTENCES)
	@printf '%s\n' $(SENTENCES) | $(BIN)/seqx translate $(SAMPLE)/model

# Tests on the pretended GPU need processes in which no other test has computed gradients before.
test: lint
	$(BIN)/pytest $(SHARED)
	$(BIN)/pytest --numprocesses $(WORKERS) tests/pretended

test-quick: lint
	$(BIN)/pytest $(SHARED) -m 'not slow'

test-isa: $(VENV)/installed-dev
	@for fewer in $(FEWER); do \
	  echo "with $$fewer"; \
	  env $$(echo "$$fewer" | tr , ' ') $(BIN)/pytest -m isa --numprocesses $(WORKERS) --dist loadscope $(ISA) || exit 1; \
	done

lint: $(VENV)/installed-dev
	$(BIN)/ruff check --quiet
	$(BIN)/ruff format --quiet --check
	@$(MAKE) --no-print-directory --jobs 2 types imports

types: $(VENV)/installed-dev
	$(BIN)/mypy --no-error-summary

imports: $(VENV)/installed-dev
	$(BIN)/lint-imports --no-logo

# Links to other sites are only reported: they may be down for an hour.
docs: $(VENV)/installed-dev
	$(BIN)/python -m docs.generate
	$(BIN)/sphinx-build --quiet --fresh-env --fail-on-warning --keep-going docs build/docs
	@echo "build/docs/index.html"
	@if $(BIN)/python -c 'import socket; socket.create_connection(("arxiv.org", 443), 5)' 2>/dev/null; \
	then $(BIN)/sphinx-build --quiet --builder linkcheck docs build/links || true; \
	else echo "no network: links to other sites were not checked"; fi

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build

$(VENV)/installed: $(VENV)/bin/python pyproject.toml constraints.txt
	$(INSTALL) .
	@touch $@

$(VENV)/installed-dev: $(VENV)/bin/python pyproject.toml constraints.txt
	$(INSTALL) '.[dev]'
	@touch $@ $(VENV)/installed

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "seqx needs Python 3.11 or later; name one, as in: make run PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
