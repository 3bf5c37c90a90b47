# twinfleet: `make test` is the whole check; it installs what it needs.
GO      ?= go
TOOL    := $(GO) tool -modfile=tools/go.mod
FUZZTIME ?= 10m
SOAKTIME ?= 1h
RUNS ?= 10
ROUNDS ?= 20
SEED ?= 1

.PHONY: help test setup fmt-check fmt vet lint unit outside deploy kube integration clients sdk build bench bench-rate bench-queueing bench-transports bench-agents bench-brokers busy soak soak-swarm fuzz golden clean

help: ## List the targets.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

# The suites at the end wait more than they compute, so that two go side by side.
test: setup fmt-check vet lint unit outside deploy ## Everything a change must pass.
	@$(MAKE) --no-print-directory -j 2 -O integration clients
	@echo "make test: all suites passed"

setup: ## Install what the tests need and this machine lacks.
	@./scripts/setup.sh

fmt-check:
	@out=$$($(TOOL) gofumpt -l $$(git ls-files '*.go' ':!*.pb.go')); if [ -n "$$out" ]; then echo "not formatted (run make fmt):"; echo "$$out"; exit 1; fi
	@$(GO) mod tidy -diff >/dev/null || { echo "go.mod is not tidy: run go mod tidy"; exit 1; }

fmt: ## Format the code.
	@$(TOOL) gofumpt -w $$(git ls-files '*.go')

vet:
	@$(GO) vet -tags integration,soak,clients ./...
	@cd test/amqp && $(GO) vet ./...
	@$(GO) vet -tags portable ./internal/host
	@for os in darwin windows; do GOOS=$$os $(GO) vet ./... || exit 1; done

lint:
	@$(TOOL) staticcheck -tags integration ./...

# A program built with -race sleeps a second before it exits, for races of goroutines that outlive it; here goleak finds those.
# Allocations are counted without it: it has pools forget. Capacity searches go without it: they are hours of virtual time.
# The package that is named first takes the longest, and one processor alone: it begins first.
unit: ## Unit tests with the race detector.
	GORACE=atexit_sleep_ms=10 $(GO) test -race -timeout 15m ./scenario/engine ./...
	@$(GO) test -run Allocate ./fleet
	$(GO) test -timeout 15m ./internal/capacity/...
	$(GO) test -run TestCapacity -timeout 10m ./scenario/engine

outside: ## The public packages, from a module of somebody else's.
	@cd test/outside && GOPROXY=off $(GO) test ./...

deploy: ## The Dockerfile, configs/compose.yaml and configs/kubernetes, read strictly and run without an engine.
	@cd test/deploy && $(GO) vet ./... && $(GO) test -count 1 ./... # what is outside the module does not end what Go remembers of a test

# Built for the first time it takes some ten minutes of a processor, and 3 GB of Go's cache; it wants etcd, which Debian has as etcd-server.
kube: ## The manifests for Kubernetes, against a real API server.
	@cd test/kubernetes && $(GO) build -ldflags='-s -w' -o bin/ k8s.io/kubernetes/cmd/kube-apiserver
	@cd test/deploy && $(GO) test -count 1 -run APIServer . -apiserver $(CURDIR)/test/kubernetes/bin/kube-apiserver

integration: ## Against a real Mosquitto and Prometheus, and with whole fleets.
	$(GO) test -tags integration -count 1 -parallel 3 -timeout 15m $$($(GO) list -tags integration ./test/... | grep -v -e '/test/brokers$$' -e '/test/counting$$')
	$(GO) test -tags integration -count 1 -parallel 8 -timeout 10m ./test/brokers
	$(GO) test -tags integration -count 1 -parallel 8 -timeout 10m ./test/counting
	$(GO) test -tags integration -count 1 -run Fleet -timeout 4m ./scenario/engine

# The suites wait more than they compute, so that all go side by side.
clients: ## Microsoft's own clients for Node.js, Python, Java and Go against the embedded hub, and the list of their cases in docs/embedded-hub.md.
	$(GO) test -tags clients -count 1 -parallel 4 -timeout 12m ./test/clients

sdk: build ## The clients for Node.js alone, with each case's name.
	@cd test/sdk && node run.mjs

build: ## Build bin/twinfleet.
	@$(GO) build -o bin/twinfleet ./cmd/twinfleet

bench: build ## What devices and operations cost here, and benchmarks of the parts, for docs/performance.md.
	bin/twinfleet bench
	$(GO) test -run '^$$' -bench . -benchmem ./...

bench-rate: ## 5,000 reports a second at 5,000 devices: how many started, and how late.
	$(GO) test -run '^$$' -bench BenchmarkReportRate -benchtime 1x ./scenario/engine

bench-queueing: ## The embedded hub as M/M/c and M/D/1: measured mean and p99 against theory, in virtual time.
	$(GO) test -run TestMeasuredResponseIsTheSimulations -v -timeout 30m ./internal/hub -queued 200000

bench-transports: build ## 30,000 devices over MQTT, AMQP, shared AMQP connections and HTTPS, in one fleet over TCP, against a hub in a process of its own.
	@./scripts/transports.sh

bench-agents: ## 60,000 devices over TCP on four agents, against four hubs: what coordination takes of agents, coordinator and network. 4 min, and a machine of its own.
	ulimit -n $$(ulimit -H -n) && $(GO) test -tags integration -count 1 -run TestCost -v -timeout 20m ./test/swarm -swarm.bench=60000

bench-brokers: ## A Mosquitto under twinfleet, mosquitto_pub and, if MQTT_BENCHMARK names it, mqtt-benchmark, well and frozen for a second: what each takes and says, next to what is true.
	$(GO) test -tags integration -count 1 -run TestSideBySide -v -timeout 30m ./test/brokersbench -brokers.for=60s

busy: ## make test ten times (RUNS), two side by side: no test may need a quiet machine.
	RUNS=$(RUNS) ./scripts/busy.sh

soak: ## The long forms: an hour of verdicts held against the wire, 1,000 kill -9 restarts, killed agents, capacity searches with three seeds, of a Mosquitto and interrupted, ten minutes of fuzzing a target.
	$(GO) test -tags integration -run Wire -v -timeout 90m ./test/soak -soak.for=$(SOAKTIME)
	$(GO) test -run 'Limits|Servers' -v -timeout 90m ./internal/capacity -seeds 3
	$(GO) test -tags integration,soak -run Capacity -v -timeout 2h ./test/soak
	$(GO) test -run TestKill -v -timeout 2h ./internal/hub ./internal/hub/store -kills=1000
	@$(MAKE) --no-print-directory soak-swarm
	FUZZTIME=$(FUZZTIME) ./scripts/fuzz.sh

soak-swarm: ## Twenty rounds (ROUNDS) of kill -9 of an agent, with each choice of what to do then, of the coordinator, with each choice and taken over, and of NATS' process.
	$(GO) test -tags integration -run 'Killed|Taken' -v -parallel 3 -timeout 2h ./test/swarm -swarm.rounds=$(ROUNDS) -swarm.seed=$(SEED)

fuzz: ## Every fuzz target for FUZZTIME.
	FUZZTIME=$(FUZZTIME) ./scripts/fuzz.sh

golden: ## Rewrite the golden files.
	$(GO) test $$(git grep -lE 'flag.Bool\("update"|terminaltest"' -- '*_test.go' | xargs -n 1 dirname | sort -u | sed 's|^|./|') -update

clean:
	rm -rf bin
