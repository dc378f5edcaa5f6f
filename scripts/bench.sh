#!/usr/bin/env bash
# Measures the figures of docs/benchmarks.md, prints them and writes them there.
# About six minutes, most of them waiting; leave the machine alone meanwhile.
#
#   scripts/bench.sh [-quick] [-gate] [-evict] [-dir DIR] [FIGURE...]
#
# Figures: charge push sync operation slip start idle size; without names all. -quick tries
# everything in a minute and writes nothing. The directory (default /var/tmp) is
# on the disk that is measured; about 1.5 GB are used there and given back.
set -euo pipefail
exec go -C "$(dirname "$0")/../bench" run . "$@"
