# make help lists the targets. All tools and binaries are put into .tools, bin and dist, which git ignores.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

FUZZTIME ?= 60s
SOAKTIME ?= 10m
WIRETIME ?= 10m
SIMTIME ?= 10m
TOOLS := $(CURDIR)/.tools/bin

# Debian packages: what the benchmarks and the tests run against, and the compiler for the race detector.
BENCH_APT := wrk nghttp2-client nginx haproxy varnish valgrind
APT := radosgw ceph-mon ceph-osd ceph-common nginx caddy haproxy apache2-bin varnish prometheus redis-server buildah busybox-static systemd chromium firefox-esr webkit2gtk-driver gstreamer1.0-plugins-bad gstreamer1.0-libav xvfb ffmpeg curl wget iproute2 nodejs python3 python3-requests python3-httpx python3-aiohttp python3-fsspec python3-pandas aria2 mpv gdal-bin gcc libc6-dev awscli logrotate
REGISTRY := github.com/distribution/distribution/v3/cmd/registry v3.1.2
OAUTH2_PROXY := github.com/oauth2-proxy/oauth2-proxy/v7 v7.8.1 . oauth2-proxy
OIDC_PROVIDER := github.com/zitadel/oidc/v3 v3.51.17 ./example/server oidc-provider
HELM := helm.sh/helm/v3/cmd/helm v3.22.0
KUBECTL_VALIDATE := sigs.k8s.io/kubectl-validate v0.0.4
CYCLONEDX := github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod v1.10.0
NFPM := github.com/goreleaser/nfpm/v2/cmd/nfpm v2.45.2
TOXIPROXY := github.com/Shopify/toxiproxy/v2 v2.12.0 ./cmd/server toxiproxy-server
MINIO := github.com/minio/minio v0.0.0-20260212201848-7aac2a2c5b7c
MINIO_CLIENT := github.com/minio/mc v0.0.0-20250313080218-cf909e1063a9 . mcli
VERSITYGW := github.com/versity/versitygw/cmd/versitygw v1.8.0
SEAWEEDFS := github.com/seaweedfs/seaweedfs v0.0.0-20261109003541-7506e5f91cd6 ./weed weed
NPM := axe-core@4.14.1 hls.js@1.7.4 dashjs@5.2.1 shaka-player@5.2.12 video.js@8.24.1 openseadragon@6.1.1 pdfjs-dist@6.5.438 geotiff@3.0.5 three@0.187.0 cesium@1.145.0 zarrita@0.7.5 axios@1.21.1 got@13.0.0
GREMLINS := github.com/go-gremlins/gremlins/cmd/gremlins v0.6.0
LINTER := github.com/golangci/golangci-lint/v2/cmd/golangci-lint v2.15.0

.PHONY: help build release test e2e bench fuzz wire soak sim sim-long sim-mutants mutation stores reproducible nightly lint tools tools-test tools-release tools-bench tools-lint tools-mutation tools-stores demo clean

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.* ## /  make \1 \t/p' Makefile

build: ## build bin/s3redirect, static
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o bin/s3redirect ./cmd/s3redirect

# The version comes from the tag: v0.1.0, or v0.1.0-3-g1234567 three commits later, or 1234567 if there is no tag. A tree with
# changed files adds -dirty.
VERSION ?= $(shell git describe --tags --match 'v[0-9]*' --always --dirty)
PLATFORMS ?= linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64 windows/arm64
DIST ?= dist
# The time of all files in the packages and in the image is that of the commit.
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct)

# A tag of an image has no v in front. Nor has the version of a package, which dpkg must also be able to compare:
# 0.1.0~rc.1 < 0.1.0 < 0.1.0+3.g1234567, and 0.0.0+1234567 without a tag.
IMAGE_VERSION = $(patsubst v%,%,$(VERSION))
PACKAGE_VERSION = $(shell echo '$(IMAGE_VERSION)' | sed -E -e '/^[0-9]+\.[0-9]+/!s/^/0.0.0+/' -e 's/-dirty$$/+dirty/' \
	-e 's/-([0-9]+)-g([0-9a-f]+)/+\1.g\2/' -e 's/-/~/g')

# The names of the files in DIST, for a platform such as linux/amd64.
binary = s3redirect_$(VERSION)_$(subst /,_,$(1))$(if $(filter windows/%,$(1)),.exe)
package = s3redirect_$(PACKAGE_VERSION)_$(notdir $(1)).deb
BOM = s3redirect_$(VERSION).cdx.json
IMAGE = s3redirect_$(VERSION)_oci.tar
LINUX = $(filter linux/%,$(PLATFORMS))

# A release depends on the commit, on the version of Go in go.mod, and on the versions of the tools. It does not depend on
# paths, the time, the time zone, the umask, Go's settings, or what else is installed. docs/release.md describes how one is
# made.
release tools-release: export GOTOOLCHAIN = go$(shell sed -n 's/^go //p' go.mod)
release: export CGO_ENABLED = 0
release: export GOAMD64 = v1
release: export GOARM64 = v8.0
release: export GOFLAGS = -trimpath
release: tools-release ## build dist/: binaries, Debian packages, an image, an SBOM and checksums; the same bytes each time
	@for tool in cyclonedx-gomod nfpm; do test -x $(TOOLS)/$$tool || { echo "release: $$tool is missing"; exit 1; }; done
	@mkdir -p $(DIST)
	@$(foreach p,$(PLATFORMS),echo "+ $(call binary,$(p))"; \
		GOOS=$(patsubst %/,%,$(dir $(p))) GOARCH=$(notdir $(p)) go build -buildvcs=true \
			-ldflags "-s -w -buildid= -X main.version=$(VERSION)" -o $(DIST)/$(call binary,$(p)) ./cmd/s3redirect;)
	@echo "+ $(BOM)"; $(TOOLS)/cyclonedx-gomod app -json -noserial -main cmd/s3redirect -output $(DIST)/$(BOM) . 2>/dev/null; \
		at=$$(date -u -d @$(SOURCE_DATE_EPOCH) +%Y-%m-%dT%H:%M:%SZ); \
		sed -i "s/\"timestamp\": \"[^\"]*\"/\"timestamp\": \"$$at\"/" $(DIST)/$(BOM)
	@stage=$$(mktemp -d); trap 'rm -rf $$stage' EXIT; \
		sed -e '/^\[Unit\]/,$$!d' -e 's|/usr/local/bin/|/usr/bin/|' deploy/systemd/s3redirect.service >$$stage/s3redirect.service; \
		$(foreach p,$(LINUX),echo "+ $(call package,$(p))"; cp $(DIST)/$(call binary,$(p)) $$stage/s3redirect; \
		STAGE=$$stage ARCH=$(notdir $(p)) PACKAGE_VERSION=$(PACKAGE_VERSION) SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH) \
			$(TOOLS)/nfpm package -f deploy/debian/nfpm.yaml -p deb -t $(DIST)/$(call package,$(p)) >/dev/null;)
	@echo "+ $(IMAGE)"; go run ./deploy/image -version $(IMAGE_VERSION) -revision $$(git rev-parse HEAD) \
		-created $(SOURCE_DATE_EPOCH) -output $(DIST)/$(IMAGE) $(foreach p,$(LINUX),$(p)=$(DIST)/$(call binary,$(p)))
	@echo "+ SHA256SUMS"; cd $(DIST) && sha256sum $(sort $(BOM) $(IMAGE) $(foreach p,$(PLATFORMS),$(call binary,$(p))) \
		$(foreach p,$(LINUX),$(call package,$(p)))) >SHA256SUMS

demo: ## try it: an S3, an STS and a gallery in one process
	go run ./cmd/s3redirect demo

# go test ends a package after 10 minutes by default. The tests against real servers take longer on a
# slow machine. Most of them wait, so more of them run in parallel than there are cores.
UNIT := -count=1 -timeout 20m $$(go list ./... | grep -v '/test/e2e$$')
E2E := -count=1 -timeout 45m -parallel 4 ./test/e2e

# bin/test.log has the output of go test -v; the terminal has each package's result and the failures.
# Skipped tests are listed with their reasons; on CI they are failures. awk takes from the === lines
# of go test which test's output follows.
test: tools-test ## run all tests, those against real servers included
	@mkdir -p bin
	@failed=0; { go test -v $(UNIT) || unit=failed; go test -v $(E2E) && [ -z "$${unit:-}" ]; } 2>&1 | tee bin/test.log | { grep --line-buffered -E '^(ok|FAIL|panic:|\?)|^ *--- FAIL|^#' || true; } || failed=1; \
	if [ $$failed = 1 ]; then echo; echo "Output of the tests (bin/test.log has all of it):"; grep -vE '^ *(=== |--- (PASS|SKIP))|^PASS$$' bin/test.log; fi; \
	skipped=$$(awk '/^=== /{t=$$3} /^ +[a-z0-9_]+_test\.go:[0-9]+: /{sub(/^ +/,""); why[t]=$$0} /^ *--- SKIP: /{print "  " $$3 "  " why[$$3]}' bin/test.log); \
	echo; echo "Skipped: $${skipped:+$$'\n'}$${skipped:-nothing}"; \
	if [ "$${CI:-}" = true ] && [ -n "$$skipped" ]; then echo "On CI, a skipped test is a failure."; failed=1; fi; \
	exit $$failed

e2e: tools-test ## run only the tests against real servers
	go test $(E2E)

bench: tools-bench ## compare with bare net/http, nginx, the SDK and a registry; run the benchmarks
	go run ./test/bench
	go test -run '^$$' -bench . -benchmem ./...

fuzz: ## run each fuzz target for FUZZTIME (60s)
	@for package in $$(go list ./...); do \
		for target in $$(go test -list '^Fuzz' $$package | grep ^Fuzz || true); do \
			echo "+ $$package $$target"; go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$package; \
		done; \
	done

wire: ## compare the wire with net/http for WIRETIME (10m); check a million pipelined requests for races
	go test -run '^$$' -fuzz '^FuzzWireEqualsNetHTTP$$' -fuzztime $(WIRETIME) ./internal/wire
	WIRE_REQUESTS=1000000 go test -race -count=1 -timeout 1h -run '^TestPipelines$$' -v ./internal/wire

soak: tools-test ## SOAKTIME (10m) of load, faults and reloads, looking for races
	SOAK=$(SOAKTIME) go test -count=1 -timeout 2h -run '^TestSoak$$' -v ./test/e2e

sim: ## simulate replicas, stores, clocks and faults, 1,000 seeds (docs/simulator.md)
	SIM_SEEDS=1000 go test -count=1 -timeout 1h -run '^(TestSeeds|TestReplays)$$' -v ./test/sim

# Each run has other seeds.
sim-long: ## simulate for SIMTIME (10m)
	SIM_TIME=$(SIMTIME) SIM_FIRST=$$(date +%s)000 go test -count=1 -timeout 24h -run '^TestSeeds$$' -v ./test/sim

sim-mutants: ## break each promise on purpose; the simulator must notice
	SIM_MUTANTS=. go test -count=1 -timeout 3h -run '^TestMutants$$' -v ./test/sim

# The packages that are mutated, each with the least share of mutants, in percent, that its tests must
# kill. A floor may only rise. The last three are starting values that a full run has yet to raise.
MUTATION := internal/locator:80 internal/presign:95 cache:80 internal/viewer:60 internal/integration:60 proxy:60

mutation: tools-mutation ## change operators in the most important packages; the tests must notice
	@for p in $(MUTATION); do \
		echo "+ gremlins unleash ./$${p%:*} (floor $${p#*:} %)"; \
		$(TOOLS)/gremlins unleash --workers 1 --timeout-coefficient 30 --threshold-efficacy $${p#*:} -S lt ./$${p%:*}; \
	done

stores: tools-test tools-stores ## compare the stores with docs/stores/README.md, SeaweedFS included
	@test -x $(TOOLS)/weed || { echo "stores: SeaweedFS is missing"; exit 1; }
	go test -count=1 -run '^(TestStores|TestDenyRulesHoldForPathVariants)$$' -v ./test/e2e

reproducible: tools-release ## make a release twice, without anything that was compiled before, and compare
	SEPARATE_CACHE=1 go test -count=1 -timeout 1h -run '^TestReleaseIsReproducible$$' -v ./test/e2e

nightly: fuzz wire soak sim-long sim-mutants mutation stores reproducible ## run what takes too long for every commit

lint: tools-lint ## gofmt, go vet, golangci-lint
	@unformatted=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go')); \
	if [ -n "$$unformatted" ]; then echo "These files need gofmt -w:"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	@if [ -x $(TOOLS)/golangci-lint ]; then echo "golangci-lint run"; $(TOOLS)/golangci-lint run; else echo "golangci-lint is missing, skipped"; fi

# get installs a Go program into .tools/bin, unless that version is installed. If it cannot be
# installed, make names it and continues; the tests that need it are then skipped.
define get
	@if ! go version -m $(TOOLS)/$(notdir $(word 1,$(1))) 2>/dev/null | grep -qE '^\s+mod\s.*\s$(word 2,$(1))(\s|$$)'; then \
		echo "+ go install $(word 1,$(1))@$(word 2,$(1))"; \
		GOBIN=$(TOOLS) GOFLAGS= go install $(word 1,$(1))@$(word 2,$(1)) || echo "tools: could not install $(word 1,$(1)); continuing without"; \
	fi
endef

# build does the same in the program's module, for programs whose binary would have an unclear name
# or that go install refuses.
define build
	@stamp=$(TOOLS)/.$(word 4,$(1))-$(word 2,$(1)); if [ ! -e $$stamp ]; then \
		echo "+ go build $(word 1,$(1))@$(word 2,$(1))"; mkdir -p $(TOOLS); \
		dir=$$(GOFLAGS= go mod download -json $(word 1,$(1))@$(word 2,$(1)) | sed -n 's/.*"Dir": "\(.*\)".*/\1/p'); \
		{ [ -n "$$dir" ] && cd "$$dir" && GOFLAGS= go build -o $(TOOLS)/$(word 4,$(1)) $(word 3,$(1)) && touch $$stamp; } \
			|| echo "tools: could not install $(word 1,$(1)); continuing without"; \
	fi
endef

# npm gets the packages that pages and scripts are tested with, and what they depend on. Source maps
# and Cesium's readable build are half of it, and are deleted.
define npm
	@dir=$(CURDIR)/.tools/npm; if [ "$$(cat $$dir/installed 2>/dev/null)" != "$(1)" ]; then \
		echo "+ npm install $(1)"; mkdir -p $$dir; \
		{ npm install --silent --no-save --no-audit --no-fund --ignore-scripts --omit=optional --prefix $$dir $(1) >/dev/null \
			&& find $$dir -name '*.map' -delete && rm -rf $$dir/node_modules/cesium/Build/CesiumUnminified \
			&& echo "$(1)" >$$dir/installed; } \
			|| echo "tools: could not install $(1); continuing without"; \
	fi
endef

tools: tools-test tools-lint ## install what tests and lint need: Debian packages (as root), MinIO, versitygw, oauth2-proxy, golangci-lint …

# packages installs the Debian packages that are missing.
define packages
	@missing=; if command -v dpkg-query >/dev/null; then \
		for p in $(1); do dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$p"; done; \
	else echo "tools: this is not Debian; install these yourself: $(1)"; fi; \
	if [ -n "$$missing" ] && [ "$$(id -u)" = 0 ]; then \
		echo "+ apt-get install$$missing"; \
		{ apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $$missing </dev/null >/dev/null; } \
			|| echo "tools: could not install$$missing; continuing without"; \
	elif [ -n "$$missing" ]; then echo "tools: not root, so without$$missing"; fi
endef

# Valkey is in Debian's backports, on the same mirror as the other packages.
define backports
	@if ! command -v valkey-server >/dev/null && [ "$$(id -u)" = 0 ] && [ -r /etc/apt/sources.list.d/debian.sources ]; then \
		. /etc/os-release; uri=$$(sed -n 's/^URIs: *//p' /etc/apt/sources.list.d/debian.sources | head -1); \
		key=$$(sed -n 's/^Signed-By: *//p' /etc/apt/sources.list.d/debian.sources | head -1); \
		printf 'Types: deb\nURIs: %s\nSuites: %s-backports\nComponents: main\nSigned-By: %s\n' "$$uri" "$$VERSION_CODENAME" "$$key" >/etc/apt/sources.list.d/backports.sources; \
	fi
endef

tools-test: tools-release
	$(call backports)
	$(call packages,$(APT) valkey-server)
	$(call get,$(MINIO))
	$(call build,$(MINIO_CLIENT))
	$(call get,$(VERSITYGW))
	$(call build,$(OAUTH2_PROXY))
	$(call build,$(OIDC_PROVIDER))
	$(call build,$(TOXIPROXY))
	$(call get,$(HELM))
	$(call get,$(KUBECTL_VALIDATE))
	$(call npm,$(NPM))

tools-release:
	$(call get,$(CYCLONEDX))
	$(call get,$(NFPM))

tools-bench:
	$(call packages,$(BENCH_APT))
	$(call get,$(MINIO))
	$(call get,$(REGISTRY))

tools-mutation:
	$(call get,$(GREMLINS))

# SeaweedFS takes 8 minutes to build. go install refuses its replace directives.
tools-stores:
	$(call build,$(SEAWEEDFS))

tools-lint:
	$(call get,$(LINTER))

clean: ## remove bin and dist, but not the tools
	rm -rf bin dist
