#!/usr/bin/env bash
# Fuzzes every target of the module a little, and lists them.
# Usage: fuzz.sh [INPUTS]      how many new inputs each target gets, default 3000
# A count, not a time: a fuzzing run that its time ends in the middle of an input
# is reported as failed by the go command.
set -euo pipefail
cd "$(dirname "$0")/.."
inputs=${1:-3000}

targets=$(git ls-files -co --exclude-standard '*_test.go' |
	grep -vE '^(bench|tools)/' |
	{ xargs grep -sHoE '^func Fuzz[A-Za-z0-9_]+' || true; } | # grep: nothing found, or a file is gone
	sed -E 's|^(.*)/[^/]+:func (Fuzz.*)$|./\1 \2|' | sort)
[ -n "$targets" ] || { echo "fuzz: no targets found" >&2; exit 1; }

n=0
while read -r package target; do
	n=$((n + 1))
	start=$SECONDS
	if ! out=$(go test "$package" -run '^$' -fuzz "^$target\$" -fuzztime "${inputs}x" -fuzzminimizetime 100x 2>&1); then
		printf '%s\n' "$out"
		echo "fuzz: $package $target failed; its input is in $package/testdata/fuzz/$target" >&2
		exit 1
	fi
	echo "fuzz  $package $target  $((SECONDS - start)) s"
done <<<"$targets"
echo "fuzz: $n targets, $inputs inputs each"
