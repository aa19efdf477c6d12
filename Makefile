# `make demo` shows the main job at work; `make test` runs everything that must pass.
CARGO ?= cargo
# In memory where that is to be had: it is the programs that are compared, and not a disk.
BENCH_DIR ?= $(shell [ -d /dev/shm ] && echo /dev/shm || echo /tmp)

.PHONY: all setup demo check test test-page test-package soak bench fmt lint doc build install deb

all: test

setup:
	@tests/setup.sh

demo: setup
	$(CARGO) build --profile quick --quiet
	MIRRORBALL=target/quick/mirrorball $(CARGO) run --profile quick --quiet --example demo

# What one runs while one works: formatting, lints, and all tests of the rules, with one in twenty of the schedules, cases and
# states that `make test` tries.
check: fmt
	$(CARGO) clippy --workspace --all-targets --quiet -- -D warnings
	PART=20 RUST_BACKTRACE=0 $(CARGO) test --quiet -p mirrorball-core --lib --test rules

# Tests of the real program wait more than they work: two for each processor. Those of the rules never wait, and an exploration
# takes half a gigabyte: one for each processor.
test_system = RUST_TEST_THREADS=$${RUST_TEST_THREADS:-$$((2 * $$(nproc)))} $(CARGO) test --workspace --no-fail-fast --test system

test: export RUST_BACKTRACE = 0
test: setup fmt lint doc
	$(CARGO) test --workspace --no-fail-fast --lib --bins --test rules
	$(CARGO) test --workspace --doc --quiet
	$(test_system)
	@if [ $$(( 0x$$(sed -n 's/^CapEff:[[:space:]]*//p' /proc/self/status) & 0x200004 )) = 2097156 ]; then \
		echo "The same over fanotify"; \
		WATCH=Fanotify $(test_system) -- everyday:: renames:: volumes:: watching::; \
	else \
		echo "Not tested over fanotify: that needs CAP_SYS_ADMIN and CAP_DAC_READ_SEARCH"; \
	fi
	tests/system/package.sh

# A Debian package, installed, started, upgraded and removed in a copy of this system that is thrown away. `make test` does it too.
test-package: setup
	$(CARGO) test --workspace --test system --no-run --quiet
	tests/system/package.sh

# The page in a real browser; `make test` does it too where there is one.
test-page: setup
	@tests/setup.sh chromium chromedriver
	$(CARGO) test --test system -- page:: --nocapture

fmt:
	$(CARGO) fmt --check

lint:
	$(CARGO) clippy --workspace --all-targets -- -D warnings

doc:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --quiet

# As long as one likes: SCHEDULES=N schedules of the simulation and CASES=N pushes of the planner from seed FIRST, then
# SECONDS=N of random work.
soak: setup
	FIRST=$${FIRST:-100000} SCHEDULES=$${SCHEDULES:-200000} $(CARGO) test --profile quick -p mirrorball-core --test rules simulation
	FIRST=$${FIRST:-1000000} CASES=$${CASES:-5000000} $(CARGO) test --profile quick -p mirrorball-core --test rules planner
	SEED=$${SEED:-1} SECONDS=$${SECONDS:-300} $(CARGO) test --profile quick --test system churn
	SEED=$${SEED:-1} SECONDS=$${SECONDS:-300} $(CARGO) test --profile quick --test system trouble

# Figures beside other programs; `make bench ROW=latency` for one row, RUNS=5 for more runs.
bench: setup
	@tests/setup.sh lsyncd inotifywait python3
	$(CARGO) build --release --quiet
	TMPDIR=$(BENCH_DIR) MIRRORBALL=$(CURDIR)/target/release/mirrorball ROW=$(ROW) RUNS=$(RUNS) $(CARGO) bench --bench rows --quiet

PREFIX ?= /usr/local
DESTDIR ?=
PROFILE ?= release
built = target/$(PROFILE:dev=debug)/mirrorball
bin = $(DESTDIR)$(PREFIX)/bin
share = $(DESTDIR)$(PREFIX)/share
unit = $(DESTDIR)$(PREFIX)/lib/systemd/system

# The program, its pages, completions and unit. `make install DESTDIR=/tmp/package PREFIX=/usr` for a package.
build:
	$(CARGO) build --profile $(PROFILE) --locked --quiet

# What `make build` has made: whoever installs need not have cargo.
install:
	@test -x $(built) || { echo "make build first" >&2; exit 1; }
	install -d $(bin) $(unit) $(share)/man $(share)/bash-completion/completions \
		$(share)/zsh/site-functions $(share)/fish/vendor_completions.d $(share)/doc/mirrorball \
		$(DESTDIR)$(PREFIX)/lib/sysctl.d $(DESTDIR)$(PREFIX)/lib/sysusers.d $(DESTDIR)$(PREFIX)/lib/tmpfiles.d
	install -m 755 $(built) $(bin)/mirrorball
	$(built) man --directory $(share)/man
	$(built) completions bash > $(share)/bash-completion/completions/mirrorball
	$(built) completions zsh > $(share)/zsh/site-functions/_mirrorball
	$(built) completions fish > $(share)/fish/vendor_completions.d/mirrorball.fish
	sed 's,/usr/bin/,$(PREFIX)/bin/,' contrib/mirrorball.service > $(unit)/mirrorball.service
	install -m 644 contrib/sysctl.d/60-mirrorball.conf $(DESTDIR)$(PREFIX)/lib/sysctl.d/
	install -m 644 contrib/sysusers.d/mirrorball.conf $(DESTDIR)$(PREFIX)/lib/sysusers.d/
	install -m 644 contrib/tmpfiles.d/mirrorball.conf $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/
	install -m 644 README.md CHANGELOG.md LICENSE-APACHE LICENSE-MIT config/*.ron docs/*.md contrib/prometheus/alerts.yml contrib/grafana/mirrorball.json $(share)/doc/mirrorball/

# target/debian/mirrorball_*.deb, of what `make install` installs. Needs dpkg-dev; REVISION=2 for a second one.
REVISION ?= 1
deb: build
	PROFILE=$(PROFILE) REVISION=$(REVISION) contrib/debian/build
