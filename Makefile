# Every target does all that it needs. What CI runs is what a person runs.
#
#   make serve               set up, pull the starter model, serve it (PORT=..., MODEL=...)
#   make chat PROMPT="..."   set up, pull the starter model, answer
#   make test                set up with the test tools, pull the starter model, run the tests
#   make setup               leave .venv/bin/freehold behind
#   make check               lint, types, format and tests: before every commit
#   make bench section fuzz probe soak test-all docs clean

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
MODEL ?= starter
# The build's own default starts more compilers than the machine has cores.
export CMAKE_BUILD_PARALLEL_LEVEL ?= $(shell nproc 2>/dev/null || echo 2)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

TOOLS := build/tools
WITH_TOOLS := PYTHONPATH=$(abspath $(TOOLS)) PATH="$(abspath $(TOOLS))/bin:$$PATH"
# Python compiles a module when it first imports it: compiling all of them beforehand would add a
# quarter to the environment, most of it never used.
PIP_INSTALL := $(BIN)/python -m pip install --no-input --no-compile

# Through the environment, so that quotes and backticks in a prompt reach the model untouched.
export PROMPT

NATIVE := CMakeLists.txt $(shell find core -type f 2>/dev/null)

.PHONY: setup serve chat test test-all check lint docs bench section fuzz probe soak clean
.DEFAULT_GOAL := setup

setup: $(VENV)/.freehold

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Freehold needs Python 3.11 or later; found: $(PYTHON). Try: make PYTHON=python3.11"; exit 1; }
	@echo "[1/3] environment: $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip uninstall --quiet --yes setuptools

$(VENV)/.packages: pyproject.toml | $(BIN)/python
	@echo "[2/3] packages"
	@$(BIN)/python .ci/requirements.py dependencies > $(VENV)/requirements.txt
	@.ci/quietly $(VENV)/packages.log $(PIP_INSTALL) --requirement $(VENV)/requirements.txt
	@touch $@

# The build's tools keep one place, because a build environment made anew for each install would
# compile everything anew. cmake and ninja are among them only where the machine has none.
$(TOOLS)/.ready: pyproject.toml | $(BIN)/python
	@rm -rf $(TOOLS) && mkdir -p $(TOOLS)
	@$(BIN)/python .ci/requirements.py build > $(TOOLS)/requirements.txt
	@.ci/quietly $(TOOLS)/pip.log $(PIP_INSTALL) --target $(TOOLS) --requirement $(TOOLS)/requirements.txt
	@$(WITH_TOOLS) $(BIN)/python -c 'from scikit_build_core.build import get_requires_for_build_editable as get; print(*get(), sep="\n")' > $(TOOLS)/more.txt
	@.ci/quietly $(TOOLS)/more.log $(PIP_INSTALL) --target $(TOOLS) --upgrade --requirement $(TOOLS)/more.txt
	@touch $@

# Editable: a changed Python file needs no new set-up, a changed kernel compiles itself alone.
$(VENV)/.freehold: $(VENV)/.packages $(TOOLS)/.ready $(NATIVE)
	@echo "[3/3] compiled core, on $(CMAKE_BUILD_PARALLEL_LEVEL) cores"
	@$(WITH_TOOLS) .ci/quietly $(VENV)/build.log $(PIP_INSTALL) --verbose --no-deps --no-build-isolation --editable .
	@touch $@
	@echo "ready: $(BIN)/freehold"

$(VENV)/.test-packages: pyproject.toml $(VENV)/.packages
	@echo "[test] the tools and oracles of the tests (torch among them: this is the long part)"
	@$(BIN)/python .ci/requirements.py test > $(VENV)/test-requirements.txt
	@.ci/quietly $(VENV)/test-packages.log $(PIP_INSTALL) --requirement $(VENV)/test-requirements.txt
	@touch $@

# exec: a signal to make's child is a signal to the server.
serve: $(VENV)/.freehold
	@if [ "$(MODEL)" = starter ]; then $(BIN)/freehold pull starter; fi
	@exec $(BIN)/freehold serve "$(MODEL)" $(if $(PORT),--port "$(PORT)")

chat: $(VENV)/.freehold
	@if [ "$(MODEL)" = starter ]; then $(BIN)/freehold pull starter; fi
	@if [ -n "$$PROMPT" ]; then $(BIN)/freehold run "$(MODEL)" "$$PROMPT"; else $(BIN)/freehold run "$(MODEL)"; fi

# Files two at a time; then what measures time, memory or load, with nothing beside it.
TEST_WORKERS ?= 2
FAST := not slow and not network
ALONE = $(shell grep -rl --include='*.py' mark.alone tests)
# Hundreds of tests start a process, which must not compile each module anew.
PYTEST := env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -q
test: $(VENV)/.freehold $(VENV)/.test-packages
	@$(BIN)/freehold pull starter
	@$(BIN)/freehold pull starter-embedder
	@$(PYTEST) --require-weights -n $(TEST_WORKERS) --dist loadfile -m "$(FAST) and not alone"
	@$(PYTEST) --require-weights -m "$(FAST) and alone" $(ALONE)

# With the slow tests and those that need the package index.
test-all: $(VENV)/.freehold $(VENV)/.test-packages
	@$(BIN)/freehold pull starter
	@$(BIN)/freehold pull starter-embedder
	@$(PYTEST) --require-weights -m ""

lint: $(VENV)/.freehold $(VENV)/.test-packages
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

check: lint test

docs: $(VENV)/.freehold
	@$(BIN)/python docs/generate.py

bench: $(VENV)/.freehold
	@$(BIN)/freehold pull starter
	@$(BIN)/freehold bench "$(MODEL)"

# A narrow task taught to the starter model, asked before, after and once exported; LLAMA=... names a
# Python that has llama_cpp, which is then asked too, LARGER=... a file of a larger model.
section: $(VENV)/.freehold $(VENV)/.test-packages
	@$(BIN)/freehold pull starter
	@$(BIN)/python -m benchmarks.section $(if $(LLAMA),--llama-python "$(LLAMA)") $(if $(LARGER),--larger "$(LARGER)")

# Requests generated from the OpenAPI description, hundreds for each route.
probe: $(VENV)/.freehold $(VENV)/.test-packages
	@$(BIN)/freehold pull starter
	@$(PYTEST) --require-weights -m "" tests/server/test_openapi.py

# Ten minutes at 64 clients, then twenty dead engines.
soak: $(VENV)/.freehold $(VENV)/.test-packages
	@$(BIN)/freehold pull starter
	@$(BIN)/python -m tests.soak

fuzz: $(VENV)/.freehold $(VENV)/.test-packages
	@$(PYTEST) -m "" -k fuzz

clean:
	rm -rf $(VENV) build .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
