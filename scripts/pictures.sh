#!/usr/bin/env bash
# Makes the pictures of the README with the program itself: the screen on a real
# terminal emulator, the slips as the virtual printer drew them. Needs what
# scripts/screenshot.sh needs.
set -euo pipefail
cd "$(dirname "$0")/.."

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
CGO_ENABLED=0 go build -o "$tmp/ssg-agent" ./cmd/agent
mkdir -p docs/pictures

scripts/screenshot.sh -g 100x30 -r "$tmp/demo/slips/slip-000001.png" docs/pictures/screen.png \
	"$tmp/ssg-agent" demo --charges 1 --pay-after 1m --dir "$tmp/demo"
"$tmp/ssg-agent" demo --headless --charges 1 --dir "$tmp/paid" >/dev/null
cp "$tmp/paid/slips/slip-000001.png" docs/pictures/slip.png
cp "$tmp/paid/slips/slip-000002.png" docs/pictures/receipt.png
chmod 644 docs/pictures/*.png
