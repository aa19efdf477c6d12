# `make demo` shows the main job at work; `make test` runs everything that must pass.
CARGO ?= cargo
# In memory where that is to be had: it is the programs that are compared, and not a disk.
BENCH_DIR ?= $(shell [ -d /dev/shm ] && echo /dev/shm || echo /tmp)

.PHONY: all setup demo test soak bench fmt lint doc

all: test

setup:
	@tests/setup

demo: setup
	$(CARGO) build --release --quiet
	MIRRORBALL=target/release/mirrorball $(CARGO) run --release --quiet --example demo

test: setup fmt lint doc
	RUST_BACKTRACE=0 $(CARGO) test --no-fail-fast
	@if [ $$(( 0x$$(sed -n 's/^CapEff:[[:space:]]*//p' /proc/self/status) & 0x200004 )) = 2097156 ]; then \
		echo "The same over fanotify"; \
		WATCH=Fanotify RUST_BACKTRACE=0 $(CARGO) test --test daemon -- everyday:: renames:: volumes:: watching::; \
	else \
		echo "Not tested over fanotify: that needs CAP_SYS_ADMIN and CAP_DAC_READ_SEARCH"; \
	fi

fmt:
	$(CARGO) fmt --check

lint:
	$(CARGO) clippy --all-targets -- -D warnings

doc:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps --quiet

# As long as one likes: SCHEDULES=N schedules of the simulation from seed FIRST, then SECONDS=N of random work.
soak: setup
	FIRST=$${FIRST:-100000} SCHEDULES=$${SCHEDULES:-200000} $(CARGO) test --release --test simulation
	SEED=$${SEED:-1} SECONDS=$${SECONDS:-300} $(CARGO) test --release --test daemon churn
	SEED=$${SEED:-1} SECONDS=$${SECONDS:-300} $(CARGO) test --release --test daemon trouble

# Figures beside other programs; `make bench ROW=latency` for one row, RUNS=5 for more runs.
bench: setup
	@tests/setup lsyncd inotifywait python3
	$(CARGO) build --release --quiet
	TMPDIR=$(BENCH_DIR) MIRRORBALL=$(CURDIR)/target/release/mirrorball ROW=$(ROW) RUNS=$(RUNS) $(CARGO) bench --bench rows --quiet
