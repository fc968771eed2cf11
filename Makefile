# What contributors and CI run. Every target installs what it lacks and says so;
# CONTRIBUTING.md explains each.

TRIPLE   := $(shell rustc -vV | sed -n 's/^host: //p')
DIST     := target/dist
IMAGES   := target/images/small
NEED     := tests/need.sh

.PHONY: all demo check test bench clean installer pack images manuals rootfs host-test format lint unit

all: $(DIST)/ldms-pack installer

# Everything from nothing, for somebody who has just cloned this.
demo: all images
	tests/demo.sh $(DIST) $(IMAGES)

# All that CI runs: the fast tests first, real hosts after.
test: check host-test

check: format lint unit

format:
	cargo fmt --check

lint:
	cargo clippy --locked --all-targets --all-features -- -D warnings
	cargo clippy --locked --no-default-features -- -D warnings

unit: installer
	$(NEED) minisign systemd-analyze:systemd skopeo
	cargo test --locked --quiet --features crash-points

# The installer is static, so that it runs on any Linux of its architecture. An explicit target
# keeps the flag away from build scripts and procedural macros.
installer:
	@mkdir -p $(DIST)
	RUSTFLAGS='-C target-feature=+crt-static' cargo build --locked --quiet --release \
	    --no-default-features --bin ldms-install --target $(TRIPLE)
	@cp -u target/$(TRIPLE)/release/ldms-install $(DIST)/ldms-install

$(DIST)/ldms-pack: pack
pack:
	@mkdir -p $(DIST)
	cargo build --locked --quiet --release --bin ldms-pack
	@cp -u target/release/ldms-pack $(DIST)/ldms-pack

# Man pages and shell completions, from the definitions that the programs parse with.
manuals:
	cargo run --locked --quiet --example manuals -- $(DIST)

images:
	tests/images/build.sh --variant small $(IMAGES)

# The root file systems of the test hosts, one after the other: made on demand in the midst of
# tests they would compete with them.
ENGINES := podman docker podman,docker
rootfs:
	for engine in $(ENGINES); do \
	    tests/host/rootfs.sh --suite trixie --engine $$engine \
	        target/tmp/host/trixie-$$(echo $$engine | tr , -) || exit 1; \
	done

host-test: all images rootfs
	cargo test --locked --quiet --features host-tests,crash-points --test host -- --test-threads=3

bench: all images
	benches/run.sh $(DIST) $(IMAGES)

clean:
	cargo clean
