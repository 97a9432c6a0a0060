SHELL := /bin/bash
.DEFAULT_GOAL := help
# The toolchain is what package-lock.json says, Node included: whatever Node is on the machine only bootstraps it.
export PATH := $(CURDIR)/node_modules/.bin:$(PATH)
INSTALLED := node_modules/.installed
IMPORTS := .cache/proto-imports/.done

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

.PHONY: install
install: $(INSTALLED) ## install the locked packages (every other target does it too)
$(INSTALLED): package.json package-lock.json
	npm ci --loglevel=error
	@touch $@

.PHONY: lock
lock: ## write package-lock.json anew after a change of package.json
	npm install --package-lock-only
	@node src/dev/complete-lock.ts

.PHONY: peers
peers: $(INSTALLED) ## install what only the tests use: redis-server, Prometheus, Chromium, Python (Debian, as root)
	@node src/dev/peers.ts

.PHONY: run
run: $(INSTALLED) ## serve on embedded PostgreSQL and Redis, data in .data/; TLS=1 asks clients for certificates
	@exec node src/dev/run.ts

.PHONY: certs
certs: $(INSTALLED) ## certificates for development in .data/certs/: authority, server, clients; NAME=billing adds a client
	@node src/dev/certs.ts $(NAME)

.PHONY: demo
demo: $(INSTALLED) ## show the cache, then a delivery, at work against `make run`
	@exec node src/dev/demo.ts

.PHONY: msgctl
msgctl: $(INSTALLED) ## ask or tell the service of `make run` something; ARGS="cache stats", ARGS=--help
	@exec node src/dev/msgctl.ts $(ARGS)

.PHONY: simulator
simulator: $(INSTALLED) ## run the provider simulator alone: Twilio and SendGrid for development
	@exec node src/dev/simulate.ts $(ARGS)

.PHONY: start
start: $(INSTALLED) ## serve with the configuration from the environment
	@exec node src/start.ts

.PHONY: worker
worker: $(INSTALLED) ## one more worker, for the database of the environment or else of `make run`
	@exec node src/dev/worker.ts

.PHONY: migrate
migrate: $(INSTALLED) ## bring the schema of DATABASE_URL up to date
	@node src/apply-migrations.ts

.PHONY: proto-imports
proto-imports: $(IMPORTS) ## copy the imported .proto files out of node_modules
$(IMPORTS): $(INSTALLED) src/dev/proto-imports.ts src/dev/proto-printer.ts
	@node src/dev/proto-imports.ts
	@touch $@

.PHONY: gen
gen: $(IMPORTS) ## write gen/ from proto/, the API reference included
	buf generate

.PHONY: dashboards
dashboards: $(INSTALLED) ## write deploy/grafana/dashboards from src/dev/dashboard-*.ts
	@node src/dev/dashboards.ts

.PHONY: alerts-test
alerts-test: peers ## test the rules of deploy/rules with promtool
	promtool check config deploy/prometheus.yml
	promtool test rules deploy/rules/tests/*.yml

.PHONY: check
check: $(IMPORTS) ## every static check
	biome check --error-on-warnings .
	tsc
	tsc -p src/http/status-page.tsconfig.json
	knip
	buf lint
	buf format --diff --exit-code proto
	@node src/dev/proto-breaking.ts
	@node src/dev/gen-drift.ts
	@node src/dev/dashboards.ts --check
	@node src/dev/supply-chain.ts

.PHONY: fix
fix: $(IMPORTS) ## repair what the checks can repair
	biome check --write .
	buf format --write proto
	buf generate

.PHONY: test
test: peers ## all tests but the long ones
	vitest run

.PHONY: test-unit
test-unit: $(INSTALLED) ## the tests that need no server
	vitest run --project unit

.PHONY: chaos
chaos: peers ## prove the cache under faults; SHORT=1 for the form that CI runs
	@exec node test/chaos/run.ts

.PHONY: chaos-delivery
chaos-delivery: peers ## prove delivery under crashes; SHORT=1 for the form that CI runs
	@exec node test/chaos/delivery-run.ts

.PHONY: chaos-restarts
chaos-restarts: peers ## prove that restarts under load cost callers nothing; SHORT=1 for the form that CI runs
	@exec node test/chaos/restart-run.ts

.PHONY: soak
soak: peers ## 30 minutes at 60 % of what the stack can do: does it come to hold more? SHORT=1 for the form that CI runs
	@exec node test/chaos/soak-run.ts

.PHONY: chaos-attacks
chaos-attacks: peers ## attack the service while an honest client calls; SHORT=1 for the form that CI runs
	@exec node test/chaos/attack-run.ts

.PHONY: fuzz
fuzz: peers ## a million random inputs for methods and webhooks; RUNS=n, SEED=n
	@exec node test/chaos/fuzz-run.ts

.PHONY: model
model: $(INSTALLED) ## explore every interleaving of the cache protocol
	@exec node test/model/report.ts

.PHONY: bench
bench: peers ## every contender side by side; SHORT=1 for a look of two minutes
	@exec node bench/run.ts

.PHONY: bench-growth
bench-growth: peers ## what a hit costs as rows and connections grow
	@exec node bench/growth.ts

.PHONY: bench-profile
bench-profile: peers ## where CPU time goes; CONTENDER=service, or a scenario of bench/plan.ts
	@exec node bench/profile.ts

.PHONY: bench-cache
bench-cache: peers ## what the cache costs and saves, as ratios
	@exec node bench/cache-cost.ts

.PHONY: bench-delivery
bench-delivery: peers ## what delivery costs beside the least it could, as ratios; SHORT=1 for a look
	@exec node bench/delivery.ts

.PHONY: bench-identity
bench-identity: peers ## what it costs a cached read that it is asked who calls, as ratios
	@exec node bench/identity.ts

.PHONY: bench-watchers
bench-watchers: peers ## what an idle watcher holds, and whether PostgreSQL is asked more for more of them
	@exec node bench/watchers.ts

.PHONY: client
client: $(INSTALLED) ## build and pack the client package into dist/
	@node src/dev/client-package.ts

.PHONY: protos
protos: $(IMPORTS) ## pack the .proto files for other languages, and the descriptor set for grpcurl, into dist/
	@node src/dev/proto-bundle.ts

.PHONY: sbom
sbom: $(INSTALLED) ## write what the image contains, as CycloneDX and SPDX, into dist/
	@mkdir -p dist
	npm sbom --omit=dev --sbom-type=application --sbom-format=cyclonedx > dist/sbom.cdx.json
	npm sbom --omit=dev --sbom-type=application --sbom-format=spdx > dist/sbom.spdx.json

.PHONY: licences
licences: $(INSTALLED) ## list the packages by licence; make check refuses others than src/dev/licences.ts allows
	@node src/dev/supply-chain.ts licences

.PHONY: pin-image
pin-image: $(INSTALLED) ## write the digest of the base image into the Dockerfile
	@node src/dev/pin-image.ts

.PHONY: clean
clean: ## remove data, caches and what was built; node_modules stays
	@if [ -x node_modules/.bin/node ]; then node src/dev/clean.ts; fi
	rm -rf .cache dist
