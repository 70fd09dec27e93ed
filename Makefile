# Two commands do all the set-up on a fresh machine: `make demo` and `make test`.
# Each installs what is missing through the system's package manager and says what it runs.

SHELL := /bin/bash
CARGO ?= cargo
FUZZ_SECONDS ?= 10
# Where cargo builds, when it is told another place.
BUILT := $(or $(CARGO_TARGET_DIR),target)/release

.PHONY: help demo build test unit suite lint bench fuzz-smoke clean

help: ## Show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

build: ## Build the release binary
	@scripts/setup build
	$(CARGO) build --release --locked -p mcp-firewall -p mcpf-vulnerable-server

demo: build ## Attack a vulnerable MCP server without and with the firewall
	@$(BUILT)/mcp-firewall demo
	@scripts/demo-filesystem

test: ## Run every test: crates, end to end with real servers and SDK clients
	@scripts/setup test
	@scripts/fixtures
	$(CARGO) test --workspace --locked --exclude mcpf-audit
	@# One at a time: a process forked by one test holds the file locks of another until it execs.
	$(CARGO) test --locked -p mcpf-audit -- --test-threads=1

lint: ## Formatting, clippy, docs, dependency rules
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked --document-private-items
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny check bans licenses sources; \
	else echo "lint: cargo-deny is not installed (cargo install cargo-deny); dependency rules not checked"; fi

bench: build ## Measure the engine and the gateway on this machine
	$(CARGO) bench --locked -p mcpf-benches
	$(BUILT)/mcp-firewall bench
	$(BUILT)/mcp-firewall bench --http --audit-durability flush $$(command -v nginx >/dev/null && echo --nginx)

fuzz-smoke: ## Each fuzz target for ten seconds (needs nightly Rust and cargo-fuzz)
	@scripts/setup build
	@scripts/fuzz-smoke $(FUZZ_SECONDS)

clean: ## Remove everything that was built
	$(CARGO) clean
	rm -rf tests/fixtures/node_modules tests/fixtures/.venv .demo
