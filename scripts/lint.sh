#!/usr/bin/env bash
# Formatting, vet, staticcheck and govulncheck, at the versions in tools/go.mod.
# govulncheck needs its database from the network. Where that cannot be reached
# it says so, loudly, and the rest counts; a vulnerability that was found fails.
set -euo pipefail
cd "$(dirname "$0")/.."
failed=
fails() { echo "lint: $1" >&2; failed=1; }
tool() { go tool -modfile=tools/go.mod "$@"; }

mapfile -t files < <(git ls-files -co --exclude-standard '*.go' ':!*/testdata/*' | while read -r f; do [ ! -e "$f" ] || echo "$f"; done)
unformatted=$(tool gofumpt -l "${files[@]}")
if [ -n "$unformatted" ]; then
	printf '%s\n' "$unformatted"
	fails "gofumpt: these files are not formatted; run make fmt"
else
	echo "lint: gofumpt: ${#files[@]} files formatted"
fi

if go vet ./...; then echo "lint: vet: passed"; else fails "vet failed"; fi

if tool staticcheck ./...; then echo "lint: staticcheck: passed"; else fails "staticcheck failed"; fi

tool govulncheck -version >/dev/null # build it before its time counts
code=0
out=$(timeout 180 go tool -modfile=tools/go.mod govulncheck ./... 2>&1) || code=$?
if [ "$code" = 0 ]; then
	echo "lint: govulncheck: passed"
elif [ "$code" != 3 ] && { [ "$code" = 124 ] || grep -qE 'fetching vulnerabilities|vuln\.go\.dev' <<<"$out"; }; then
	printf '%s\n' "$out" | tail -n 3
	echo "*************************************************************"
	echo "*** govulncheck: database unreachable, NOT CHECKED        ***"
	echo "*** run it where https://vuln.go.dev can be reached       ***"
	echo "*************************************************************"
else
	printf '%s\n' "$out"
	fails "govulncheck failed"
fi
[ -z "$failed" ]
