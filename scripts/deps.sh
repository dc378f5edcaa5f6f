#!/usr/bin/env bash
# Makes sure that what the tests need is on this machine, and says what it
# installs: Debian packages, each only when its command or file is missing. Go
# modules and tools are fetched by the go command, at the versions in go.mod and
# tools/go.mod.
set -euo pipefail

# what is looked for | Debian package | who needs it
need='
gcc|gcc|the race detector
/usr/include/stdlib.h|libc6-dev|the race detector
git|git|commit stamps, list of test files
make|make|this build
zbarimg|zbar-tools|decodes the QR codes of slips and screens
qemu-arm|qemu-user|runs the ARM binaries
qemu-aarch64|qemu-user|runs the ARM binaries
strace|strace|injects disk errors
systemd-analyze|systemd|checks the unit
mkfs.ext4|e2fsprogs|a small disk that fills up
losetup|mount|a small disk that fills up
curl|curl|asks the local API as its callers do
mosquitto|mosquitto|a real broker for the link to the fleet
openssl|openssl|makes the certificates that docs/hub.md says how to make
argon2|argon2|the reference implementation of the hash of PINs
tmux|tmux|types at the screen and reads it
xterm|xterm|shows the screen for screenshots
Xvfb|xvfb|a display for xterm
import|imagemagick|takes the screenshots
/usr/share/fonts/truetype/dejavu/DejaVuSansMono.ttf|fonts-dejavu-core|the font of the screenshots
'

# missing sets packages to what is not there yet, and says so.
missing() {
	packages=
	local what package why
	while IFS='|' read -r what package why; do
		case $what in
		'') continue ;;
		/*) [ -e "$what" ] && continue ;;
		*) command -v "$what" >/dev/null && continue ;;
		esac
		echo "deps: $what is missing ($why): package $package"
		case " $packages " in *" $package "*) ;; *) packages="$packages $package" ;; esac
	done <<<"$need"
}

command -v go >/dev/null || { echo "deps: go is missing: install Go 1.26 (https://go.dev/dl)" >&2; exit 1; }
missing
if [ -n "$packages" ]; then
	command -v apt-get >/dev/null || { echo "deps: this is no Debian; install what gives the above by hand" >&2; exit 1; }
	sudo=
	[ "$(id -u)" = 0 ] || sudo=sudo
	echo "deps: installing$packages"
	$sudo apt-get update -q </dev/null
	# shellcheck disable=SC2086 # a list of words
	$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $packages </dev/null
	hash -r
	missing
	[ -z "$packages" ] || { echo "deps: still missing after the installation:$packages" >&2; exit 1; }
fi
go mod download
go -C tools mod download
echo "deps: all there"
