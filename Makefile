# Every target works on a fresh clone with nothing but python3 (with venv), pip and make.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
EXTRAS := flows,conic,bench,docs,test,dev

# The networks are small: threads inside one operation cost more than they bring.
export OMP_NUM_THREADS ?= 1

.PHONY: demo test test-slow check docs bench clean

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[$(EXTRAS)]"
	touch $@

demo: $(STAMP)  ## gradient descent, its central flow and gradient flow at the edge of stability
	$(BIN)/flows demo --out runs/demo --overwrite

test: $(STAMP)  ## the whole test suite but for the slow studies
	$(BIN)/python -m pytest -m "not slow" -n 2

test-slow: $(STAMP)  ## the slow studies
	$(BIN)/python -m pytest -m slow -n 2

check: $(STAMP)  ## lint, types, docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html

docs: $(STAMP)
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

bench: $(STAMP)  ## the benchmarks, one after the other
	$(BIN)/python -m bench.ccp
	$(BIN)/python -m bench.ccp_published
	$(BIN)/python -m bench.ccp_batch
	$(BIN)/python -m bench.ccp_families
	$(BIN)/python -m bench.stationary --plot docs/images/stationary.png
	$(BIN)/python -m bench.stationary_networks
	$(BIN)/python -m bench.stationary_warm
	$(BIN)/python -m bench.proposition_two
	$(BIN)/python -m bench.flows
	$(BIN)/python -m bench.mixed_term
	$(BIN)/python -m bench.edge_of_stability
	$(BIN)/python -m bench.work_precision
	$(BIN)/python -m bench.differences
	$(BIN)/python -m bench.inner
	$(BIN)/python -m bench.sharpness

clean:
	rm -rf $(VENV) build dist docs/_build docs/api .pytest_cache .mypy_cache .ruff_cache
