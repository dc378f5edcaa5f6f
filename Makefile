# What a developer runs. `make help` lists it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

TOOL := go tool -modfile=tools/go.mod
PKGS := ./...

.PHONY: help demo build dist test bench prove lint fmt deps licenses linked clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## the whole terminal on this machine, nothing to set up
	go run ./cmd/agent demo

build: ## the agent and the hub for this machine: ./ssg-agent ./ssg-hub
	CGO_ENABLED=0 go build -trimpath -tags nethttpomithttp2 -o ssg-agent ./cmd/agent
	CGO_ENABLED=0 go build -trimpath -o ssg-hub ./cmd/hub

dist: ## agent and hub for all boards, with checksums and bills of materials: dist/
	scripts/cross-build.sh

test: deps lint ## everything a change must pass: linters, all tests with the race detector, fuzzing, ARM
	CGO_ENABLED=1 go run ./scripts/gotest -race -timeout 20m $(PKGS)
	scripts/fuzz.sh

bench: ## measure, compare with other people's stores, and write docs/benchmarks.md
	go -C bench run .

prove: deps lint ## the long proofs: shuffled repetitions, more kills and histories, deep fuzzing
	CGO_ENABLED=1 go run ./scripts/gotest -race -shuffle=on -count=2 -timeout 1h $(PKGS)
	CGO_ENABLED=1 SSG_KILLS=$${SSG_KILLS:-200} SSG_SCHEDULES=$${SSG_SCHEDULES:-20000} SSG_POWER_CUTS=$${SSG_POWER_CUTS:-115000} SSG_DISK_ERRORS=$${SSG_DISK_ERRORS:-1000} \
		go run ./scripts/gotest -race -timeout 3h $(PKGS)
	cd bench && go vet ./... && go test ./...
	scripts/fuzz.sh $${FUZZ_INPUTS:-300000}

lint: ## formatting, vet, staticcheck, govulncheck
	scripts/lint.sh

fmt: ## format the Go sources
	$(TOOL) gofumpt -w $$(git ls-files -co --exclude-standard '*.go' ':!*/testdata/*')

deps: ## install what the tests need (Debian packages, Go modules), and say what
	scripts/deps.sh

licenses: ## write THIRD_PARTY_LICENSES.md anew from what is linked
	go test ./scripts/notices -run TestThirdPartyLicensesAreTrue -update

linked: ## write the reviewed list of linked packages anew
	go test ./cmd/agent -run TestLinked -update

clean: ## remove what the other targets made
	rm -rf dist ssg-agent ssg-hub
