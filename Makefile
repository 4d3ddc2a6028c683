# What a developer types. Each target does its own set-up, and the second run is quick.
# Needs Rust, Python 3.11 or later, and make; the tests use Docker where an engine answers, and must with REQUIRE_DOCKER=1.
.DEFAULT_GOAL := test
.PHONY: test demo bench campaign lint deny advisories fmt lock image

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c

BIN := .venv/bin
TOOLS := .venv/installed
PIPE_DEBUG := target/debug/fastapi-handoff
CORES := $(shell nproc)
# Built as the image's is.
HOST = $(shell rustc -vV | sed -n 's/^host: //p')
PIPE_STATIC = target/$(HOST)/release/fastapi-handoff
BUILD_STATIC = cargo build --config .cargo/static.toml --target $(HOST) --release --locked
SCRIPTS := .ci/run .ci/release $(wildcard test/container/*.sh test/local_runner/*.sh)

# The receiver's tests keep a processor busy each; the end-to-end ones wait for most of their time.
test: $(TOOLS)
	cargo test --locked
	$(BIN)/python -m pytest --numprocesses=$(CORES) receiver
	PIPE=$(PIPE_DEBUG) $(BIN)/python -m pytest --numprocesses=$$(($(CORES) + 1)) test/e2e

demo: $(TOOLS)
	cargo build --release --locked
	PYTHONPATH=test $(BIN)/python demo/run.py

bench: $(TOOLS)
	$(BUILD_STATIC)
	PIPE=$(PIPE_STATIC) $(BIN)/python bench/run.py

# What takes too long for each change: a thousand pipes against replicas under faults, hundreds of runs with faults by chance, fuzzing.
# `make campaign BOUNDED=1` does a part of each, in some minutes.
campaign: $(TOOLS)
	$(BUILD_STATIC)
	PIPE=$(PIPE_STATIC) $(BIN)/python test/campaigns/run.py $(if $(BOUNDED),--bounded)

lint: $(TOOLS)
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	cd receiver && ../$(BIN)/mypy
	$(BIN)/shellcheck $(SCRIPTS)
	$(BIN)/hadolint Dockerfile

# What deny.toml forbids in a dependency: licences, sources, duplicates. Needs no network once the crates are fetched.
deny: $(TOOLS)
	$(BIN)/cargo-deny --locked check bans licenses sources

# Known holes of dependencies, by RustSec's database, which is fetched.
advisories: $(TOOLS)
	$(BIN)/cargo-deny --locked check advisories

fmt: $(TOOLS)
	cargo fmt
	$(BIN)/ruff check --fix --exit-zero .
	$(BIN)/ruff format .

image:
	test/container/image.sh

# Pins requirements-dev.in with hashes; no index's address gets into the lock. Renovate runs the command that the lock's head names.
lock: $(TOOLS)
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version=3.11 --output-file=requirements-dev.lock requirements-dev.in

# The first Python that is new enough and can make a virtual environment.
$(TOOLS): requirements-dev.lock receiver/pyproject.toml
	for python in python3 python3.14 python3.13 python3.12 python3.11; do \
		if "$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			found=$$python; break; \
		fi; \
	done; \
	if [ -z "$${found:-}" ]; then \
		echo "no Python 3.11 or later with \`venv\` found: install one as \`python3\`" >&2; exit 1; \
	fi; \
	"$$found" -m venv .venv
	$(BIN)/pip install --quiet --require-hashes -r requirements-dev.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e receiver
	touch $@
