#!/usr/bin/env bash
# Builds the agent for the boards it runs on, and the hub for all but the smallest
# of them, reproducibly: the same commit and Go version give the same bytes, in any
# folder and at any time.
#
# Usage: cross-build.sh [-o DIR] [TARGET...]
#   TARGET  linux/arm/v6 linux/arm/v7 linux/arm64 linux/amd64 (default: all)
#   DIR     where to (default: dist)
# VERSION, COMMIT and COMMIT_TIME (Unix seconds; the clock's floor), when set,
# replace what git says.
#
# DIR gets for each binary its bill of materials (CycloneDX) as well, and
# once the licences and SHA256SUMS. Linux/arm/v6 runs on every 32-bit board.
set -euo pipefail
out=dist
while getopts o: option; do
	case $option in
	o) out=$OPTARG ;;
	*) exit 2 ;;
	esac
done
shift $((OPTIND - 1))
targets=("$@")
[ $# -gt 0 ] || targets=(linux/arm/v6 linux/arm/v7 linux/arm64 linux/amd64)

mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$(dirname "$0")/.."
commit=${COMMIT:-$(git rev-parse HEAD)}
version=${VERSION:-$(git describe --tags --always --dirty --match 'v*')}
time=${COMMIT_TIME:-$(git log -1 --format=%ct)}
case $version$commit$time in *[!A-Za-z0-9.+_-]*) echo "cross-build: VERSION, COMMIT and COMMIT_TIME may hold letters, digits and .+_- only" >&2; exit 2 ;; esac

# Nothing of the caller's environment may change the bytes.
export CGO_ENABLED=0 GOFLAGS=-mod=readonly GOWORK=off GOEXPERIMENT= GOAMD64=v1 GOARM64=v8.0 GOFIPS140=off

cp LICENSE THIRD_PARTY_LICENSES.md "$out/"
files=(LICENSE THIRD_PARTY_LICENSES.md)
# build PROGRAM FOLDER PLATFORM [BUILD FLAGS]
build() {
	local name=$1-$3
	go build -trimpath -buildvcs=false "${@:4}" \
		-ldflags "-s -w -X main.version=$version -X main.commit=$commit -X main.commitTime=$time" \
		-o "$out/$name" "$2"
	GOOS= GOARCH= GOARM= go run ./scripts/notices -sbom "$out/$name" -version "$version" >"$out/$name.cdx.json"
	files+=("$name" "$name.cdx.json")
	printf 'cross-build: %-24s %8d bytes\n' "$name" "$(stat -c %s "$out/$name")"
}
mapfile -t cold < <(sed '/^#/d; s/.*/-gcflags=&=-l/' scripts/cold.txt)
for target in "${targets[@]}"; do
	IFS=/ read -r os arch variant <<<"$target"
	case $target in
	linux/arm/v6 | linux/arm/v7 | linux/arm64 | linux/amd64) ;;
	*) echo "cross-build: unknown target $target; see the head of $0" >&2; exit 2 ;;
	esac
	export GOOS=$os GOARCH=$arch GOARM=${variant#v}
	# The agent speaks HTTP/1 alone (providers.NewTransport), and HTTP/2 is 450 KiB.
	flags=(-tags nethttpomithttp2)
	[ "$target" != linux/arm/v6 ] || flags+=("${cold[@]}")
	build ssg-agent ./cmd/agent "$os-$arch$variant" "${flags[@]}"
	[ "$target" = linux/arm/v6 ] || build ssg-hub ./cmd/hub "$os-$arch$variant"
done
(cd "$out" && sha256sum "${files[@]}" >SHA256SUMS)
echo "cross-build: $version ($commit) in $out"
