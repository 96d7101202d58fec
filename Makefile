# make install     create the environment in $(VENV) and install seqx into it
# make run         train a translation model on the included sample, score it, and translate with it
# make test        run the linters, type and import checks, and all tests
# make test-quick  do the same without slow tests and the simulated GPU, in less than two minutes
# make test-isa    repeat the tests that depend on the CPU's instruction set with smaller instruction sets
# make docs        generate the reference pages, build the site in build/docs, and check its links
#
# Each target installs seqx into $(VENV) if needed. Only Python 3.11 or later ($(PYTHON)) must be present.

PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 3

BIN := $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt --editable
QUICKSTART := runs/quickstart
SENTENCES := "Please put the most important letter behind the bed." \
  "Although Emma is sick, she can put gloves into the box." \
  "There were many carpets in a hotel."

# Limits for the instruction sets of oneDNN and of torch. The first entry sets both to AVX2.
ISA_LIMITS := ONEDNN_MAX_CPU_ISA=AVX2,ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 \
  ATEN_CPU_CAPABILITY=default

# The files with tests for test-isa; and the options that distribute tests over workers by file, slow files first.
ISA_TESTS = tests/laws $(shell grep --recursive --files-with-matches --include='test_*.py' mark.isa tests)
DISTRIBUTED := --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

# Without bytecode each process would compile torch again, which takes seconds.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install run test most-tests simulated-gpu-tests test-quick test-isa lint types imports docs clean

install: $(VENV)/installed

run: $(VENV)/installed
	$(BIN)/seqx run recipes/quickstart.yaml
	@printf '\nThree new sentences and their translations:\n'
	@printf '%s\n' $(SENTENCES)
	@printf '%s\n' $(SENTENCES) | $(BIN)/seqx translate $(QUICKSTART)/model

# Tests on the simulated GPU need a process in which no other test has computed gradients. They run beside the
# linters, which use one core, and the other tests, which often wait. Their output comes last.
test: $(VENV)/installed-dev
	@output=$$(mktemp); $(MAKE) --no-print-directory simulated-gpu-tests > $$output 2>&1 & simulated=$$!; \
	trap "kill $$simulated 2> /dev/null; rm -f $$output" EXIT INT TERM; \
	$(MAKE) --no-print-directory lint || exit 1; \
	$(MAKE) --no-print-directory most-tests; code=$$?; \
	wait $$simulated || code=1; \
	cat $$output; exit $$code

most-tests: $(VENV)/installed-dev
	$(BIN)/pytest $(DISTRIBUTED)

simulated-gpu-tests: $(VENV)/installed-dev
	$(BIN)/pytest -p no:cacheprovider tests/simulated_gpu

test-quick: lint
	$(BIN)/pytest $(DISTRIBUTED) -m 'not slow'

test-isa: $(VENV)/installed-dev
	@for limit in $(ISA_LIMITS); do \
	  echo "with $$limit"; \
	  env $$(echo "$$limit" | tr , ' ') $(BIN)/pytest -m isa --numprocesses $(WORKERS) --dist loadscope $(ISA_TESTS) || exit 1; \
	done

lint: $(VENV)/installed-dev
	$(BIN)/ruff check --quiet
	$(BIN)/ruff format --quiet --check
	@$(MAKE) --no-print-directory --jobs 2 types imports

types: $(VENV)/installed-dev
	$(BIN)/mypy --no-error-summary

imports: $(VENV)/installed-dev
	$(BIN)/lint-imports --no-logo

# Broken links to other sites are reported but are no error, because a site may be down for an hour.
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
	@echo "installing seqx and the packages that it needs into $(VENV); this may take some minutes"
	@$(INSTALL) .
	@$(BIN)/seqx components > /dev/null && $(BIN)/seqx recipes > /dev/null  # compiles and stores what they read
	@echo "seqx is installed in $(VENV); to examine the installation: $(BIN)/seqx doctor"
	@touch $@

$(VENV)/installed-dev: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "installing seqx and the packages for development into $(VENV); this may take some minutes"
	@$(INSTALL) '.[dev]'
	@touch $@ $(VENV)/installed

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "seqx needs Python 3.11 or later; set PYTHON, as in: make run PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
