# Everything runs from .venv, made from requirements.txt the first time it is needed.
PYTHON ?= $(firstword $(shell for p in python3.11 python3 python3.12 python3.13; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p"; \
	done; command -v python3))
BIN := .venv/bin
CHROMIUM ?= $(shell command -v chromium || command -v chromium-browser || command -v google-chrome)
NOTEBOOKS := $(wildcard book/*.ipynb)
EXTRAS := data,plots,torch,pytensor,scikit-learn,audit
# The tests of the companion's rooms, without those of the book and its pages.
OWN := $(foreach room,$(basename $(notdir $(wildcard companion/[a-z]*))),\
	$(wildcard tests/test_$(room)*.py)) tests/test_companion.py
CORE := checks masks standard inverted activations optimizers history progress network claims
QUICK := $(CORE:%=companion/%.py) $(wildcard $(CORE:%=tests/test_%.py)) \
	tests/test_project.py tests/test_workflows.py

# The networks here are small: a second thread costs them more than it saves.
export OPENBLAS_NUM_THREADS ?= 1
# Most graphs here run for less time than they compile: a third less of that, for slower loops.
export NUMBA_OPT ?= 1

.DEFAULT_GOAL := help
.PHONY: help book pdf linkcheck quick test coverage oldest newest lab notebook notebooks reproduce \
	bench mutants requirements package clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-14s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

book: .venv/installed  ## Execute every notebook and build the HTML
	$(BIN)/jupyter-book build . --all -q -W -n --keep-going
	@echo "The book is ready: open $(CURDIR)/_build/html/index.html"

pdf: .venv/installed  ## Print the book into one file, with Chromium
	@test -n "$(CHROMIUM)" || { echo "Chromium is needed, and none was found."; \
		echo "Install it, or name it: make CHROMIUM=/path/to/chromium pdf"; exit 1; }
	$(BIN)/jupyter-book build . -q -W -n --keep-going --builder singlehtml
	cp _build/singlehtml/book/index.html _build/singlehtml/index.html # where its links start from
	"$(CHROMIUM)" --headless --no-sandbox --disable-gpu --virtual-time-budget=120000 \
		--no-pdf-header-footer --generate-pdf-document-outline \
		--print-to-pdf=_build/dropout_checked.pdf "file://$(CURDIR)/_build/singlehtml/index.html"
	@echo "The book is ready: $(CURDIR)/_build/dropout_checked.pdf"

linkcheck: .venv/installed  ## Follow every link to another site; needs a network
	$(BIN)/jupyter-book build . -q -W -n --keep-going --builder custom \
		--custom-builder linkcheck

quick: .venv/installed  ## Check style and types, and test the core
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pytest --quiet --numprocesses auto --dist loadfile $(QUICK)

test: .venv/installed  ## Check style and types; run all tests, doctests and notebooks
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

coverage: .venv/installed  ## Say which lines of the companion its own tests do not run
	$(BIN)/pytest --numprocesses auto --dist loadfile --cov --cov-report=term $(OWN) companion

oldest:  ## Test the companion with the lowest versions that pyproject.toml allows
	"$(PYTHON)" -m venv --clear _build/oldest
	"$(PYTHON)" tests/lowest.py > _build/oldest/lowest.txt
	_build/oldest/bin/pip install --quiet --constraint _build/oldest/lowest.txt \
		--editable '.[$(EXTRAS),test]'
	_build/oldest/bin/pytest -W default $(OWN)

newest:  ## Test the companion with the newest versions that pyproject.toml allows
	"$(PYTHON)" -m venv --clear _build/newest
	_build/newest/bin/pip install --quiet --editable '.[$(EXTRAS),test]'
	_build/newest/bin/pytest -W default $(OWN)

lab: .venv/installed  ## Open the notebooks in JupyterLab
	$(BIN)/jupyter lab --notebook-dir=book

notebook: .venv/installed  ## Execute one and store what changed: make notebook NAME=01_masks
	$(BIN)/python tests/outputs.py $(NAME)
	$(BIN)/python reproduce/pictures.py

notebooks: .venv/installed  ## Execute every notebook and store what changed
	$(BIN)/python tests/outputs.py $(notdir $(basename $(NOTEBOOKS)))
	$(BIN)/python reproduce/pictures.py

reproduce: .venv/installed  ## Run the long experiments; finished runs are kept, not repeated
	@for program in $$(grep -l '^RESULTS' reproduce/*.py); do \
		echo "$$program"; $(BIN)/python "$$program" || exit 1; done

bench: .venv/installed  ## Print speed and memory of the companion, and of the pages of the book
	$(BIN)/python benchmarks/dropout_forward.py
	$(BIN)/python benchmarks/symbolic_forward.py
	$(BIN)/python benchmarks/torch_layer.py
	$(BIN)/python benchmarks/scikit_learn.py
	$(BIN)/python benchmarks/pages.py

mutants: .venv/installed  ## Break package and chapters in small ways; list what no check notices
	PYTHONPATH=tests $(BIN)/python -m mutation

requirements: .venv/installed  ## Pin every package anew, but for PyTorch, from pyproject.toml
	$(BIN)/pip install --quiet pip-tools
	$(BIN)/pip-compile --quiet --upgrade --all-extras --strip-extras --allow-unsafe \
		--upgrade-package "$$(grep '^torch==' requirements.txt)" \
		--no-annotate --no-header --no-emit-find-links --no-emit-index-url \
		--no-emit-trusted-host --output-file requirements.txt pyproject.toml
	sed -i.bak 's/^\(torch==[^+]*\)+.*/\1/' requirements.txt && rm requirements.txt.bak

package: .venv/installed  ## Build what a release uploads, into dist/
	rm -rf dist && mkdir dist
	$(BIN)/python -c "from flit_core import buildapi as b; b.build_sdist('dist'); b.build_wheel('dist')"

clean:  ## Remove the environment and everything that was built
	rm -rf .venv _build dist

.venv/installed: requirements.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed, and none was found."; \
		echo "Install it, or name it: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or newer is needed; $(PYTHON) is $$("$(PYTHON)" --version 2>&1)."; \
		echo "Name another: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	"$(PYTHON)" -m venv .venv
	$(BIN)/pip install --quiet --requirement requirements.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@
