# make help: what there is. Everything that a target needs is installed first where it is missing (scripts/setup).

# A company's own certificates for the job images, unless SSL_CERT_FILE says them; see docker/airgapped/build.sh.
CA_CERTIFICATES ?=
# The job images that `make image` builds: versions of Python, as in PYTHON="3.11 3.13"; a version of PyTorch, which comes
# from wheels then (TORCH=2); a folder of these wheels, for machines that reach no package index (WHEELS=/srv/wheels).
# A variable of the environment must not change them.
PYTHON = 3.11
TORCH =
WHEELS =
target = $(or $(CARGO_TARGET_DIR),target)
certificates = $(if $(CA_CERTIFICATES),--ca-certificates $(CA_CERTIFICATES))

.DEFAULT_GOAL := help
.PHONY: help setup setup-test setup-faults image build demo check test api bench faults trainers buckets docs clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Install what is missing: Docker, PostgreSQL, a compiler
	@scripts/setup demo

setup-test:
	@scripts/setup test

setup-faults:
	@scripts/setup faults

image: ## Build the job images from Debian's packages (PYTHON, TORCH, WHEELS: others, see docs/usage/images.md)
	@scripts/setup image
	@docker/airgapped/build.sh --minimal $(certificates)
	@docker/cpu/build.sh $(if $(TORCH),--torch $(TORCH)) $(if $(WHEELS),--wheels $(WHEELS)) $(certificates) $(PYTHON)

build: ## Build the release binary
	@scripts/setup toolchain
	cargo build --release --locked

demo: setup image ## Run the whole service on this machine (ONCE=1: one build, then stop)
	cargo build --release --locked --bin trainyard --example demo
	@ONCE=$(ONCE) $(target)/release/examples/demo

check: ## Format, lints, layers, fuzz targets, dependencies, links
	@scripts/setup check
	cargo fmt --all --check
	cargo clippy --workspace --locked --all-targets -- -D warnings
	cargo test --workspace --locked --test layers
	cargo check --locked --manifest-path fuzz/Cargo.toml --target-dir $(target)
	scripts/audit-dependencies
	scripts/check-links
	shellcheck scripts/setup scripts/with-postgres scripts/book .ci/run docker/*.sh docker/airgapped/*.sh docker/cpu/*.sh docker/rootfs/usr/local/bin/sudo

test: setup-test image ## Run all tests, with real Docker, Postgres, git and Chromium
	@if cargo nextest --version >/dev/null 2>&1; then set -x; scripts/with-postgres cargo nextest run --workspace --locked; \
	else set -x; scripts/with-postgres cargo test --workspace --locked; fi

api: setup-test ## Fuzz the JSON API for longer than the tests do (API_EXAMPLES: requests for each operation)
	API_EXAMPLES=$(or $(API_EXAMPLES),500) scripts/with-postgres cargo test --workspace --locked --test it web::api::clients -- --nocapture

bench: setup image ## Measure, as ratios to docker run, pgbench and git
	cargo build --release --locked --bin trainyard --example bench
	@$(target)/release/examples/bench

faults: setup-faults image ## Let things die at random moments, and check that nothing is lost (SEED, FAULTS, KILLS)
	cargo build --workspace --locked --bin trainyard --example faults
	@$(target)/debug/examples/faults
	TRAINYARD_TEST_BUILDS=1000000 scripts/with-postgres cargo test --workspace --locked --test it pipeline::indexes
	TRAINYARD_TEST_BUILDS=10000 scripts/with-postgres cargo test --workspace --locked --test it pipeline::outbox::builds
	TRAINYARD_TEST_REPOSITORIES=200 scripts/with-postgres cargo test --workspace --locked --test it missed::many::pushes -- --nocapture
	TRAINYARD_TEST_KILLS=$(or $(KILLS),200) scripts/with-postgres cargo test --workspace --locked --test it publish::killed -- --nocapture

trainers: ## Lint the examples of real trainers, and run these on mock models (TRAINERS: their sources, TRAINER_PYTHONS, ROWS)
	@scripts/setup toolchain
	cargo build --workspace --locked --bin trainyard --example smoke
	@scripts/trainers/examples.py $(target)/debug/trainyard
	@scripts/trainers/run.py $(target)/debug/examples/smoke $(target)/debug/trainyard
	@scripts/trainers/resume.py $(target)/debug/examples/smoke

buckets: ## Run the tests of buckets against a real S3 server
	@scripts/setup buckets
	TRAINYARD_TEST_S3=$(HOME)/.cargo/bin/s3s-fs scripts/with-postgres cargo test --workspace --locked --test it real_s3 -- --nocapture

docs: ## Build the documents as one site
	@scripts/setup docs
	@scripts/book $(target)

clean: ## Remove what was built here (job images and data stay)
	cargo clean
	rm -rf tests/npm/node_modules tests/python/venv
