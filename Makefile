# `make check` is what CI runs, in the two lanes of `make lanes`. Every target works on its own; `make help` lists them.

CARGO ?= cargo

.PHONY: lib help check lanes fmt clippy test doc isa aarch64 arm loom mca pi pi32 size all install uninstall deb examples abi packages contract fuzz soak durability pictures

help:
	@sed -n 's/^\([a-z0-9]*\):.*## /  make \1\t/p' Makefile

# What compiles for this machine and runs its tests; and what has target folders of its own, emulates, packages or fuzzes,
# some of it with programs that the first has compiled by then.
LANE_1 = fmt clippy doc isa size mca contract soak test
LANE_2 = loom aarch64 arm fuzz examples abi packages

check: $(LANE_1) $(LANE_2) ## everything below: what CI runs

lanes: ## the same in two lanes beside each other, as CI does on two cores
	@bash .ci/lanes "$(LANE_1)" "$(LANE_2)"

fmt: ## formatting is rustfmt's
	@echo "==== formatting"
	$(CARGO) fmt --all --check

clippy: ## no warning of the compiler or of clippy
	@echo "==== clippy"
	$(CARGO) clippy --release --workspace --all-targets -- -D warnings

doc: ## documentation without warnings
	@echo "==== documentation"
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --workspace --no-deps

isa: ## the runtime and the logits' hashes once more, by the scalar kernels alone
	@echo "==== scalar kernels"
	bash .ci/isa

aarch64: ## format, runtime and the logits' hashes on an emulated ARM
	@echo "==== aarch64"
	bash .ci/aarch64

arm: ## the programs for the Raspberry Pi, emulated, say what this machine's says
	@echo "==== programs for the Raspberry Pi"
	bash .ci/pi

loom: ## the thread team, through every order in which its threads may meet
	@echo "==== thread team"
	RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=$${CARGO_TARGET_DIR:-target}/loom $(CARGO) test --release --manifest-path tests/loom/Cargo.toml

mca: ## cycles of the ARM kernels' loops by llvm-mca, against docs/arm.md
	@echo "==== cycles on ARM"
	python3 runtime/benches/mca.py

pi: ## target/pi/siskin for 64-bit systems: Raspberry Pi 3, 4, 5, Zero 2 W
	bash .ci/cross pi

pi32: ## target/pi32/siskin for 32-bit systems: Raspberry Pi 2 and later
	bash .ci/cross pi32

# cargo-c makes the same with version, soname and pkg-config: see runtime/ffi.
lib: ## target/lib: libsiskin.a, libsiskin.so and siskin.h
	$(CARGO) rustc --profile dist -p siskin-ffi --lib --features capi --crate-type staticlib --crate-type cdylib \
		-- -C link-arg=-Wl,-soname,libsiskin.so.0
	@cd $${CARGO_TARGET_DIR:-target} && mkdir -p lib && ln -sf libsiskin.so.0 lib/libsiskin.so && \
		cp dist/libsiskin_ffi.a lib/libsiskin.a && cp dist/libsiskin_ffi.so lib/libsiskin.so.0
	@cp runtime/ffi/include/siskin.h $${CARGO_TARGET_DIR:-target}/lib/

all: ## target/stage: what `make install` copies: programs, man pages, completions, C library
	bash packaging/stage native

install: ## copies it below PREFIX (/usr/local); LIBDIR and DESTDIR serve packagers
	PREFIX="$(PREFIX)" LIBDIR="$(LIBDIR)" DESTDIR="$(DESTDIR)" bash packaging/install install

uninstall: ## removes it again
	PREFIX="$(PREFIX)" LIBDIR="$(LIBDIR)" DESTDIR="$(DESTDIR)" bash packaging/install uninstall

deb: ## target/deb: Debian packages of this machine, or with ARCH=arm64 or ARCH=armhf
	bash packaging/deb $(ARCH)

contract: ## the promises of siskin.h, kept under gcc's sanitizers
	@echo "==== contract of the C library"
	bash .ci/c

examples: all ## the C library's examples: shared, static, CMake; sanitizers, valgrind, an emulated ARM
	@echo "==== examples of the C library"
	bash .ci/examples

abi: all ## the C library's functions and types, against packaging/siskin.abi
	@echo "==== binary interface"
	bash packaging/abi

packages: all ## the Debian packages: built twice, installed, used, upgraded and removed
	@echo "==== packages"
	bash .ci/packages

# What a device gets.
size: ## the stripped siskin is at most 2 MB
	@echo "==== size"
	$(CARGO) build --profile dist -p siskin-cli
	@bytes=$$(wc -c < $${CARGO_TARGET_DIR:-target}/dist/siskin); echo "siskin has $$bytes bytes"; test $$bytes -le 2000000

# SOAK=3600 make soak: an hour.
soak: ## 256 sessions on one mapped model, each token as a single session's, memory flat
	@echo "==== soak"
	$(CARGO) build --release -q --workspace --bin siskin-train --example soak
	@dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && release=$${CARGO_TARGET_DIR:-target}/release && "$$release/siskin-train" \
		init --model llama --vocab-size 4000 --d-model 128 --n-layers 4 --n-heads 4 --context 128 -o "$$dir/m.siskin" && \
		"$$release/examples/soak" "$$dir/m.siskin" $${SOAK:-20} 6

durability: ## a kill and a failure at every system call, a thousand random kills, every allocation (an hour; needs root and strace)
	@echo "==== durability"
	SISKIN_REQUIRE_ALL=1 SISKIN_DURABILITY=all $(CARGO) test --release -p siskin-tests --test durability -- --test-threads 2

pictures: ## docs/pictures/gradient-descent, by the commands of docs/gradient-descent.md (some minutes)
	bash docs/pictures/make.sh

test: ## every test, by README's command, with the best kernels of this machine
	@echo "==== tests"
	$(CARGO) test --workspace --release

SECONDS_EACH ?= 24

fuzz: ## every fuzz target for SECONDS_EACH seconds, 24 if not given; see tests/fuzz/README.md
	@echo "==== fuzzing"
	SECONDS_EACH=$(SECONDS_EACH) bash .ci/fuzz
