#!/usr/bin/env bash
# Takes a picture of a program on a real terminal emulator: xterm on a virtual X
# server. Nothing of the caller's desktop is used.
#
#   scripts/screenshot.sh [-g COLSxROWS] [-s POINTS] [-t TERM] [-r FILE] OUT.png COMMAND [ARG...]
#
# -g  size of the terminal (100x30)
# -s  size of the font in points (11.5: here the blocks of DejaVu meet)
# -t  TERM of the program (xterm-256color)
# -r  wait until the program has made FILE; without it, until it has drawn something
#
# The picture is taken once two in a row are alike, or after twenty: some
# screens never rest. Needs Debian's xvfb, xterm, imagemagick and
# fonts-dejavu-core. Exit codes: 0 done, 1 failed, 2 wrong usage.
set -euo pipefail

size=100x30 points=11.5 term=xterm-256color ready=
while getopts g:s:t:r: opt; do
	case $opt in
	g) size=$OPTARG ;;
	s) points=$OPTARG ;;
	t) term=$OPTARG ;;
	r) ready=$OPTARG ;;
	*) sed -n '2,15s/^# \?//p' "$0" >&2; exit 2 ;;
	esac
done
shift $((OPTIND - 1))
[ $# -ge 2 ] || { sed -n '2,15s/^# \?//p' "$0" >&2; exit 2; }
out=$1
shift

for need in Xvfb:xvfb xterm:xterm import:imagemagick identify:imagemagick; do
	command -v "${need%:*}" >/dev/null || { echo "screenshot: ${need%:*} is missing: install Debian's ${need#*:}" >&2; exit 1; }
done

tmp=$(mktemp -d)
server='' emulator=''
finish() {
	[ -z "$emulator" ] || kill "$emulator" 2>/dev/null || true
	[ -z "$server" ] || kill "$server" 2>/dev/null || true
	wait 2>/dev/null || true
	rm -rf "$tmp"
}
trap finish EXIT

mkfifo "$tmp/display"
Xvfb -displayfd 3 -screen 0 2400x1600x24 -nolisten tcp 3>"$tmp/display" >"$tmp/xvfb" 2>&1 &
server=$!
read -r number <"$tmp/display" || { cat "$tmp/xvfb" >&2; exit 1; }
export DISPLAY=:$number

export LC_ALL=C.UTF-8
unset NO_COLOR COLUMNS LINES
# The program's shell writes down which window it is in, then becomes the program.
WINDOW_FILE=$tmp/window xterm -u8 -tn "$term" -geometry "$size+0+0" -fa 'DejaVu Sans Mono' -fs "$points" \
	-bw 0 -b 0 +sb -bg black -fg white -xrm 'XTerm*allowBoldFonts: false' \
	-e sh -c 'echo "$WINDOWID" >"$WINDOW_FILE.new" && mv "$WINDOW_FILE.new" "$WINDOW_FILE"; unset WINDOW_FILE; exec "$@"' sh "$@" 2>"$tmp/xterm" &
emulator=$!

alive() { kill -0 "$emulator" 2>/dev/null || { echo "screenshot: the program ended before it was pictured" >&2; cat "$tmp/xterm" >&2; exit 1; }; }
until [ -e "$tmp/window" ] && { [ -z "$ready" ] || [ -e "$ready" ]; }; do
	alive
	sleep 0.05
done

window=$(cat "$tmp/window") last=
for ((tries = 0; tries < 20; )); do
	alive
	timeout 60 import -silent -window "$window" "$tmp/shot.png"
	read -r colours now < <(identify -format '%k %#\n' "$tmp/shot.png")
	[ "$colours" -gt 1 ] || continue
	tries=$((tries + 1))
	[ "$now" != "$last" ] || break
	last=$now
done
mv "$tmp/shot.png" "$out"
