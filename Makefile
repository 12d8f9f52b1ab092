# Every target installs what it needs: the toolchain and npm packages into this folder,
# Debian packages (scripts/debian/) when we are root. `make help` lists the targets.
MACHINE := $(shell uname -m)
ARCH := $(if $(filter aarch64,$(MACHINE)),arm64,x64)
BUN_VERSION := $(shell sed -nE 's/^ *"bun": "([0-9.]+)",?/\1/p' package.json)
BUN_x64 := build/toolchain/bun-$(BUN_VERSION)/bun-linux-x64/bin/bun
BUN_arm64 := build/toolchain/bun-$(BUN_VERSION)/bun-linux-aarch64/bin/bun
BUN := $(BUN_$(ARCH))
CC := gcc
CC_x64 := $(if $(filter x64,$(ARCH)),gcc,x86_64-linux-gnu-gcc)
CC_arm64 := $(if $(filter arm64,$(ARCH)),gcc,aarch64-linux-gnu-gcc)
CFLAGS := -O2 -Wall -Wextra

SOURCES := $(shell find src -name '*.ts' 2>/dev/null)
# What `bun build` embeds or reads besides src/.
BUILD_INPUTS := $(SOURCES) scripts/build.ts package.json tsconfig.json
TEST_NATIVE := build/test/container build/test/peer
BENCH_C := $(wildcard bench/*.c bench/*/*.c)
BENCH_NATIVE := $(patsubst %.c,build/bench/%,$(notdir $(BENCH_C)))
NPM := node_modules/.installed
DEBIAN := $(patsubst %,build/stamps/debian-%,build test cross demo bench)

VERSION := $(shell sed -nE 's/^ *"version": "([^"]+)",?/\1/p' package.json)
MACHINES := x86_64 aarch64
DISTS := $(MACHINES:%=dist/pv-xconnect-$(VERSION)-%.tar.xz) $(MACHINES:%=dist/addon-pv-xconnect-$(VERSION)-%.cpio.xz4)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SECONDARY:
# Two jobs at once would install Debian packages at once.
.NOTPARALLEL:
.PHONY: help setup build check format lint unit test test-vkms demo bench cross install install-systemd dist clean distclean

help: ## this list
	@echo 'pv-xconnect: make TARGET'; echo
	@sed -nE 's/^([a-z-]+):.*## (.*)/  \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 18
	@echo; echo 'Fresh machine with Node/npm and make: everything else is installed by the targets.'

setup: $(NPM) $(DEBIAN) $(BUN_x64) $(BUN_arm64) build/toolchain/koffi-linux-x64/package.json build/toolchain/koffi-linux-arm64/package.json ## toolchain, npm and Debian packages, and nothing else

build: build/pv-xconnect ## the binary for this machine: build/pv-xconnect

check: lint unit ## format, lint, types, architecture and unit tests (seconds; no root)

format: $(NPM) ## rewrite what the formatter would have otherwise
	node_modules/.bin/biome check --write .

lint: $(NPM) native ## format, lint and types, changing nothing
	node_modules/.bin/biome ci .
	node_modules/.bin/tsc --noEmit

unit: $(NPM) native ## unit and architecture tests
	$(BUN) scripts/test.ts unit

test: build native $(TEST_NATIVE) build/stamps/debian-test ## build, then every test: unit, property, contract, integration, e2e (root)
	@$(MAKE) --no-print-directory cross || echo 'make cross failed: the tests of its binaries will fail, the others run'
	$(BUN) scripts/test.ts

test-vkms: build native $(TEST_NATIVE) build/stamps/debian-test build/stamps/debian-vkms ## the DRM tests on VKMS and virtio-gpu, in a small VM (root)
	@test/vm/test-vkms.sh build/vm

demo: build native $(TEST_NATIVE) build/stamps/debian-demo ## watch real containers talk through pv-xconnect (root)
	@$(BUN) scripts/demo.ts

bench: build native $(BENCH_NATIVE) build/stamps/debian-bench ## direct, pv-xconnect and socat side by side, with the bars
	@$(BUN) bench/all.ts

cross: dist/pv-xconnect-x86_64 dist/pv-xconnect-aarch64 ## binaries for x86_64 and aarch64 (glibc) in dist/

# What is installed: this machine's binary, unless dist and addon say otherwise. Never with -s: stripping destroys it.
BINARY := build/pv-xconnect
DOC := $(DESTDIR)/usr/share/doc/pv-xconnect
install: $(BINARY) ## binary, documents and examples into $(DESTDIR)/usr, and an empty policy directory
	install -D -m 755 $(BINARY) $(DESTDIR)/usr/bin/pv-xconnect
	install -d -m 755 $(DESTDIR)/etc/pv-xconnect/policy.d $(DOC)/docs/adr $(DOC)/examples/policy.d
	install -m 644 README.md SECURITY.md CHANGELOG.md LICENSE $(DOC)
	install -m 644 docs/*.md docs/*.svg $(DOC)/docs
	install -m 644 docs/adr/*.md $(DOC)/docs/adr
	install -D -m 644 packaging/README.md $(DOC)/packaging/README.md
	install -m 644 packaging/examples/graph.json $(DOC)/examples
	install -m 644 packaging/examples/policy.d/*.json $(DOC)/examples/policy.d

install-systemd: install ## that, and the unit for hosts without Pantavisor
	install -D -m 644 packaging/systemd/pv-xconnect.service $(DESTDIR)/usr/lib/systemd/system/pv-xconnect.service

dist: $(DISTS) ## dist/pv-xconnect-VERSION-ARCH.tar.xz, addons for Pantavisor, and SHA256SUMS
	cd dist && sha256sum $(notdir $(DISTS)) >SHA256SUMS

clean: ## everything built here but the toolchain
	rm -rf dist build/native build/test build/bench build/cross build/stage build/stamps build/pv-xconnect

distclean: clean ## that, the toolchain and the npm packages
	rm -rf build node_modules

# --- toolchain -------------------------------------------------------------------------------

# Straight from the package that holds the binary: npm's `bun` package swaps it in by a
# postinstall script, which npm may block. bun.lock says version and sha512. Bun is also what
# a compiled binary consists of, so cross needs the other machine's.
build/toolchain/bun-$(BUN_VERSION)/%/bin/bun:
	@node scripts/fetch-package.mjs @oven/$* build/toolchain/bun-$(BUN_VERSION)/$*

$(NPM): bun.lock package.json | $(BUN)
	@echo 'installing npm packages: those of bun.lock'
	@$(BUN) install --frozen-lockfile --ignore-scripts --silent
	@ln -sfn ../../$(BUN) node_modules/.bin/bun
	@touch $@

# One stamp for each list of Debian packages; the script says what it installs.
build/stamps/debian-%: scripts/debian/% scripts/install-debian.sh
	@mkdir -p $(@D)
	@scripts/install-debian.sh $*
	@touch $@

# --- native parts ----------------------------------------------------------------------------

PVX_SOURCES := native/pvx.c native/http-head.c
PVX_FLAGS := -O2 -nostdlib -fPIC -shared -ffreestanding -fno-stack-protector -Wall -Wextra

.PHONY: native
native: build/native/libpvx.so build/native/koffi.addon

build/native/x64/libpvx.so: $(PVX_SOURCES) | build/stamps/debian-build
	@mkdir -p $(@D)
	$(CC_x64) $(PVX_FLAGS) -o $@.new $(PVX_SOURCES) && mv $@.new $@

build/native/arm64/libpvx.so: $(PVX_SOURCES) | $(if $(filter x64,$(ARCH)),build/stamps/debian-cross) build/stamps/debian-build
	@mkdir -p $(@D)
	$(CC_arm64) $(PVX_FLAGS) -o $@.new $(PVX_SOURCES) && mv $@.new $@

build/toolchain/koffi-linux-%/package.json:
	@node scripts/fetch-package.mjs @koromix/koffi-linux-$* build/toolchain/koffi-linux-$*
	@touch $@

build/native/%/koffi.addon: build/toolchain/koffi-linux-%/package.json
	@mkdir -p $(@D)
	@cp build/toolchain/koffi-linux-$*/linux_$*/koffi.node $@.new && mv $@.new $@

# What src/sys imports when it runs from source: this machine's own.
build/native/libpvx.so: build/native/$(ARCH)/libpvx.so
	cp $< $@.new && mv $@.new $@

build/native/koffi.addon: build/native/$(ARCH)/koffi.addon
	cp $< $@.new && mv $@.new $@

build/test/container: test/support/native/container.c | build/stamps/debian-build
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -static -o $@.new $< && mv $@.new $@

PEER := test/support/native/peer.c test/support/native/peer-wire.c test/support/native/peer-serve.c
build/test/peer: $(PEER) test/support/native/peer.h | build/stamps/debian-build
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -static -pthread -o $@.new $(PEER) && mv $@.new $@

# Every C file of bench/ is one program, build/bench/<its name>.
vpath %.c $(sort $(dir $(BENCH_C)))
$(BENCH_NATIVE): build/bench/%: %.c | build/stamps/debian-build
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -static -pthread -o $@.new $< && mv $@.new $@

# --- binaries --------------------------------------------------------------------------------

build/pv-xconnect: $(BUILD_INPUTS) build/native/$(ARCH)/libpvx.so build/native/$(ARCH)/koffi.addon $(NPM)
	@$(BUN) scripts/build.ts $(ARCH) $(BUN_$(ARCH)) $@

dist/pv-xconnect-x86_64: $(BUILD_INPUTS) build/native/x64/libpvx.so build/native/x64/koffi.addon $(NPM) | $(BUN_x64)
	@$(BUN) scripts/build.ts x64 $(BUN_x64) $@

dist/pv-xconnect-aarch64: $(BUILD_INPUTS) build/native/arm64/libpvx.so build/native/arm64/koffi.addon $(NPM) | $(BUN_arm64)
	@$(BUN) scripts/build.ts arm64 $(BUN_arm64) $@

# --- what goes to a device: packaging/README.md ------------------------------------------------

STAGE = build/stage/$*
PACKED := $(wildcard packaging/examples/*.json packaging/examples/policy.d/*.json packaging/systemd/*.service docs/*.md docs/adr/*.md *.md)

dist/pv-xconnect-$(VERSION)-%.tar.xz: dist/pv-xconnect-% $(PACKED) | build/stamps/debian-dist
	rm -rf $(STAGE)
	$(MAKE) --no-print-directory install-systemd BINARY=$< DESTDIR=$(STAGE) >/dev/null
	tar -C $(STAGE) --owner=0 --group=0 --numeric-owner --sort=name -I 'xz -T0 -6' -cf $@.new . && mv $@.new $@

# The binary and the policy directory only: an initramfs lives in memory.
dist/addon-pv-xconnect-$(VERSION)-%.cpio.xz4: dist/pv-xconnect-% packaging/pantavisor/addon.sh | build/stamps/debian-dist
	rm -rf $(STAGE)-addon
	install -D -m 755 $< $(STAGE)-addon/usr/bin/pv-xconnect
	install -d -m 755 $(STAGE)-addon/etc/pv-xconnect/policy.d
	packaging/pantavisor/addon.sh $(STAGE)-addon $@
