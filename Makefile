# Every target sets itself up in .venv, exactly as constraints.txt says; stamp files make the second
# run quick. Three things can be named by hand:
#   make demo PYTHON=python3.13                         which Python
#   make demo PIP_ARGS="--extra-index-url https://..."  your own package index, a CPU build of torch
#   make demo HASHES=constraints.txt                    an index whose files are not the original ones

find_python := for p in python3 python3.14 python3.13 python3.12 python3.11; do $$p -c 'import sys, pip, venv; \
	assert sys.version_info >= (3, 11); print(sys.executable)' 2>/dev/null && break; done
PYTHON ?= $(or $(shell $(find_python)),$(error \
	no Python 3.11 or newer with pip on PATH; install one or name it: make PYTHON=/path/to/python3))
HASHES ?= hashes.txt
PIP = $(PYTHON) -m pip --python .venv/bin/python

.PHONY: help demo test processors bench
help:  ## list these targets
	@sed -n 's/^\([a-z]*\): .*## /make \1\t/p' Makefile

demo: .venv/.ready  ## train two networks on real text and show how far back each one's gradient reaches
	.venv/bin/throughtime demo

test: .venv/.ready .libraries/.ready  ## everything that CI checks: format, lint, types, import contracts, tests
	.venv/bin/ruff format --check
	.venv/bin/ruff check
	.venv/bin/mypy
	.venv/bin/lint-imports --no-logo
	PYTHONPATH=$(CURDIR)/.libraries .venv/bin/pytest -n 2
	$(MAKE) processors

# Of each layer of the arithmetic the file that compares most closely: capture against plain runs,
# closed forms against autograd, sweeps, exponents and budgets, and what the README prints.
NUMERICAL = tests/test_capture.py tests/test_sweeps.py tests/test_sweeps_forward.py \
	tests/test_measures_budget.py tests/test_measures_lyapunov.py tests/test_diagnosis_rules.py
PRINTED = tests/test_documents.py -k "prints or recommends"

processors: .venv/.ready  ## the numerical tests with other instructions, libraries and roundings
	ATEN_CPU_CAPABILITY=default .venv/bin/pytest -q -n 2 $(NUMERICAL)
	ATEN_CPU_CAPABILITY=avx2 .venv/bin/pytest -q -n 2 $(NUMERICAL)
	THROUGHTIME_TEST_ONEDNN=0 .venv/bin/pytest -q -n 2 $(NUMERICAL)
	THROUGHTIME_TEST_ROUNDING=1 .venv/bin/pytest -q -n 2 tests/test_capture.py -k two_directions
	OMP_NUM_THREADS=2 .venv/bin/pytest -q tests/test_sweeps.py tests/test_measures_budget.py
	ATEN_CPU_CAPABILITY=default .venv/bin/pytest -q -n 2 $(PRINTED)
	THROUGHTIME_TEST_ONEDNN=0 .venv/bin/pytest -q -n 2 $(PRINTED)

bench: .venv/.ready  ## measure against what people do today; writes docs/benchmarks.md
	.venv/bin/python -m benchmarks

# Without pip of its own, since Debian's Python cannot make a venv that has one. A file with hashes must
# have them for every package; torch is installed after it, since each index has its own build of it.
.venv/.locked: constraints.txt $(HASHES)
	$(PYTHON) -m venv --without-pip .venv
	$(PIP) install $(PIP_ARGS) --no-deps --requirement $(HASHES)
	$(PIP) install $(PIP_ARGS) --requirement constraints.txt
	@touch $@

# Public models, for the tests alone: beside the environment and not in it, and without a torch of their own.
.libraries/.ready: libraries.txt .venv/.locked
	rm -rf .libraries
	$(PIP) install $(PIP_ARGS) --no-deps --target .libraries --requirement libraries.txt
	@touch $@

.venv/.ready: pyproject.toml .venv/.locked
	$(PIP) install --no-build-isolation --no-deps --editable .
	$(PIP) check
	@touch $@
