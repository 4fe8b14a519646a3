# switchyard: make run and make test are all a newcomer needs; make help lists the rest.
GO      ?= go
BIN     ?= switchyard
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo v0.0.0-dev)
LDFLAGS  = -s -w -X main.version=$(VERSION)
PKGS     = ./...
# The race detector needs cgo and a C compiler; make test says so where they are missing.
RACE    := $(shell [ "$$($(GO) env CGO_ENABLED)" = 1 ] && command -v "$$($(GO) env CC)" >/dev/null 2>&1 && echo -race)

.DEFAULT_GOAL := build
include gen/gen.mk

.PHONY: help run build test unit race arch alloc e2e soak fuzz fmt lint bench bench-deps bench-quick bench-rules cross packages check clean

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

run: build ## build, and run with your configuration or the built-in one
	./$(BIN) $(ARGS)

build: ## build ./switchyard
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/switchyard

test: gen-check unit race ## everything that must hold: drift, unit, contract, e2e, allocations, race
	@[ -n "$(RACE)" ] || echo "note: no cgo or no C compiler: the race detector did not run"
	@command -v curl >/dev/null 2>&1 || echo "note: no curl: tests that use it as a witness were skipped"

# Tests that run the daemon take minutes: where the race detector works they run under it alone.
DAEMON = /tests/(e2e|compat|contract|browser)$$
unit: ## every test, with allocation guards; with the race detector those of the daemon are left to it
	$(GO) test -shuffle=on $(if $(RACE),$$($(GO) list $(PKGS) | grep -vE '$(DAEMON)'),$(PKGS))

race: ## every test under the race detector, where it works
ifneq ($(RACE),)
	$(GO) test -race -shuffle=on $(PKGS)
endif

arch: ## the import table
	$(GO) test ./tests/arch

alloc: ## the allocation guards alone
	$(GO) test -run 'Alloc' ./relay/... ./gen/...

e2e: ## the built binary over real sockets
	$(GO) test ./tests/e2e

SOAKTIME ?= 2m
soak: ## everything at once for SOAKTIME, race-built; then nothing of it may be left
	SOAKTIME=$(SOAKTIME) $(GO) test $(RACE) -count=1 -v -timeout 0 ./tests/soak

FUZZTIME ?= 20s
fuzz: ## every fuzz target for FUZZTIME each
	@set -e; for pkg in $$($(GO) list $(PKGS)); do \
	  for f in $$($(GO) test -list '^Fuzz' $$pkg | grep ^Fuzz || true); do \
	    echo "$$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$pkg; \
	  done; done

fmt: ## gofumpt
	cd .ci/tools && $(GO) build -o ../../.ci/bin/gofumpt mvdan.cc/gofumpt
	.ci/bin/gofumpt -l -w cmd gen impl relay tests

lint: ## gofumpt, vet, staticcheck, go mod tidy
	.ci/lint

# Type-checking finds what differs; a cold build of one target takes a minute, so only two are linked.
CROSS ?= linux/amd64 linux/arm64 linux/arm linux/mipsle linux/riscv64 darwin/amd64 darwin/arm64 \
  freebsd/amd64 freebsd/arm64 windows/amd64 windows/arm64
CROSS_BUILD ?= darwin/amd64 windows/amd64
cross: ## check for every system we support; CROSS_BUILD='$(CROSS)' builds for all of them
	cd .ci/tools && $(GO) build -o ../bin/cross ./cross
	.ci/bin/cross $(CROSS)
	@set -e; for t in $(CROSS_BUILD); do \
	  echo "build $$t"; GOOS=$${t%/*} GOARCH=$${t#*/} CGO_ENABLED=0 $(GO) build -o /dev/null ./cmd/switchyard; done

# The version of a package is that of the last tag: the three kinds agree on no way to write what came after.
PACKAGE_VERSION ?= $(shell echo '$(VERSION)' | grep -oE '^v?[0-9]+(\.[0-9]+){2}(-(alpha|beta|rc)\.?[0-9]*)?' || echo 0.0.0)
packages: build ## build a deb, an rpm and an apk in dist; GOARCH=arm64 for another machine
	cd .ci/tools && GOOS= GOARCH= $(GO) build -o ../bin/nfpm github.com/goreleaser/nfpm/v2/cmd/nfpm
	mkdir -p dist && rm -f dist/*.deb dist/*.rpm dist/*.apk
	@set -e; for p in deb rpm apk; do \
	  PACKAGE_VERSION='$(PACKAGE_VERSION)' PACKAGE_ARCH=$$($(GO) env GOARCH) \
	    .ci/bin/nfpm package -f cmd/switchyard/nfpm.yaml -p $$p -t dist/; done

bench-deps: ## install the peers that bench measures beside us (Debian)
	apt-get update -qq && apt-get install -y -qq haproxy squid microsocks unbound dnsmasq-base

bench: build ## measure beside the peers that are installed
	$(GO) run ./tests/bench -binary ./$(BIN)
	$(MAKE) bench-rules

bench-rules: build ## what rules cost, by themselves and behind a connection; what fake addresses cost
	$(GO) run ./tests/bench/figures
	$(GO) run ./tests/bench -binary ./$(BIN) -rules

bench-quick: build ## the two-minute form
	$(GO) run ./tests/bench/figures
	$(GO) run ./tests/bench -binary ./$(BIN) -quick

check: lint test cross ## what CI runs, but for what it installs

clean: ## remove what was built
	rm -rf $(BIN) dist .ci/bin tests/bench/out
