# `make demo` shows the main job at work; `make test` runs everything that must pass.
CARGO ?= cargo

.PHONY: all setup demo test fmt lint doc

all: test

setup:
	@tests/setup

demo: setup
	$(CARGO) build --release --quiet
	MIRRORBALL=target/release/mirrorball $(CARGO) run --release --quiet --example demo

test: setup fmt lint doc
	RUST_BACKTRACE=0 $(CARGO) test --no-fail-fast

fmt:
	$(CARGO) fmt --check

lint:
	$(CARGO) clippy --all-targets -- -D warnings

doc:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --quiet
