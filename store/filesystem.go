package store

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Warnings says what about the file's place threatens it, in words for an
// operator; nil when nothing is known to. It reads /proc and changes nothing.
//
//   - ext4's fast_commit loses bbolt's data on kernels before 5.10.94 and
//     5.15.27 (bbolt README, etcd-io/bbolt#562);
//   - a file with holes, such as a copy that skipped zeros, can fail on a full
//     disk.
func Warnings(path string) []string {
	var stat unix.Stat_t
	if err := unix.Stat(path, &stat); err != nil {
		return nil
	}
	var found []string
	if blocks := stat.Blocks * 512; blocks < stat.Size {
		found = append(found, fmt.Sprintf("%s has only %d of its %d MiB on disk: a full disk can stop it. Copy it without holes (cp --sparse=never)",
			path, blocks>>20, stat.Size>>20))
	}
	dev := fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(uint64(stat.Dev)), unix.Minor(uint64(stat.Dev)))
	if name, err := filepath.EvalSymlinks(dev); err == nil {
		info, _ := os.ReadFile("/proc/fs/ext4/" + filepath.Base(name) + "/fc_info") // missing: not ext4
		var uts unix.Utsname
		if unix.Uname(&uts) == nil && fastCommitRisk(unix.ByteSliceToString(uts.Release[:]), string(info)) {
			found = append(found, "ext4 fast_commit on this kernel can lose committed data: update the kernel, or run tune2fs -O ^fast_commit "+filepath.Base(name))
		}
	}
	return found
}

// fastCommitRisk judges a kernel release and the text of ext4's fc_info, whose
// second line counts the fast commits.
func fastCommitRisk(release, fcInfo string) bool {
	var commits int
	_, rest, _ := strings.Cut(fcInfo, "\n")
	if n, _ := fmt.Sscanf(rest, "%d commits", &commits); n != 1 || commits == 0 {
		return false
	}
	var major, minor, patch int
	if n, _ := fmt.Sscanf(release, "%d.%d.%d", &major, &minor, &patch); n < 2 || major != 5 {
		return false
	}
	switch {
	case minor == 10:
		return patch < 94
	case minor == 15:
		return patch < 27
	}
	return minor > 10 && minor < 15
}

// inode identifies a file on its filesystem; 0 when it cannot be found.
func inode(path string) uint64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Ino
	}
	return 0
}
