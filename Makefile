# `make` alone says what there is. Another Python: `make test PYTHON=python3.12`, which keeps a folder of its own.

PYTHON ?= python3
ifeq ($(PYTHON),python3)
VENV := .venv
else
VENV := .venv-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
endif
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PLUGINS := $(sort $(wildcard plugins/*/pyproject.toml))
PROTOS := $(sort $(wildcard examples/*/*.proto benchmarks/*.proto))
PLUGIN_PROTOS := $(sort $(wildcard plugins/*/tests/*.proto))
OWN_PROTOS := $(sort $(wildcard hrpc/*/*.proto))

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo test faults bench check proto services servers

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(INSTALLED) servers ## show what hrpc does, on real servers where they can be had (ONCE=1: end after one round)
	@$(BIN)/python -m examples.demo

test: $(INSTALLED) servers ## run all tests, in two processes (ARGS='-k consul -x -n 0')
	@scripts/install-h2load || true
	@$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

faults: $(INSTALLED) servers ## kill, cut off, restart, block and exhaust services and what they stand on, for hours (FAULTS_SECONDS=60 ARGS='-k agent')
	@$(BIN)/python -m pytest -m faults tests/faults $(ARGS)

bench: $(INSTALLED) ## compare with other ways to serve and to call; writes docs/*performance.md (ARGS='--part discovery --quick')
	@scripts/install-h2load
	@$(BIN)/python -m benchmarks $(ARGS)

check: $(INSTALLED) ## lint, format, types, layers
	@failed=; for step in "ruff check" "ruff format --check" mypy lint-imports; do \
		echo "$(BIN)/$$step"; $(BIN)/$$step || failed=yes; done; test -z "$$failed"

proto: $(INSTALLED) ## generate the code of the protos of examples, benchmarks and hrpc beside them
	$(if $(PROTOS),$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. --grpc_python_out=. $(PROTOS))
	$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. $(OWN_PROTOS)
	@# Tests of plugins import theirs from their own folder; those of google.api come with googleapis-common-protos.
	@site=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'); for proto in $(PLUGIN_PROTOS); do \
		folder=$$(dirname $$proto); $(BIN)/python -m grpc_tools.protoc -I$$folder -I$$site --python_out=$$folder \
			--pyi_out=$$folder --grpc_python_out=$$folder $$proto || exit 1; done
	@# Ours also runs with a protobuf older than that of grpcio-tools here: without the check of its version.
	@sed -i.bak -e '/^from .* as _runtime_version$$/d' -e '/^_runtime_version/,/^)$$/d' $(OWN_PROTOS:.proto=_pb2.py)
	@rm -f $(OWN_PROTOS:.proto=_pb2.py.bak)

services: $(INSTALLED) ## Consul, MySQL, Redis and RabbitMQ on their usual ports until Ctrl-C
	@BIN=$(BIN) scripts/run-services

servers: ## install Consul, MariaDB, Redis, RabbitMQ and Chromium where they are missing (Debian, Ubuntu; as root)
	@scripts/install-servers

$(INSTALLED): pyproject.toml constraints.txt $(PLUGINS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "hrpc needs Python 3.11 or newer; $(PYTHON) is older or does not run: make test PYTHON=python3.12"; \
		exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV) >$(VENV).log 2>&1 || { \
		cat $(VENV).log; rm -rf $(VENV) $(VENV).log; \
		echo "$(PYTHON) cannot make a virtual environment: on Debian and Ubuntu, apt-get install python3-venv"; \
		exit 1; }
	@rm -f $(VENV).log
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]' $(PLUGINS:%/pyproject.toml=-e ./%)
	@touch $@
