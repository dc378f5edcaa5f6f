package store

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// holder names the process that holds a lock on path, as " (ssg-agent, process
// 123)", or returns nothing when it cannot be found.
func holder(path string) string {
	locks, err := os.ReadFile("/proc/locks")
	if err != nil {
		return ""
	}
	pid := lockOwner(string(locks), inode(path))
	if pid == 0 {
		return ""
	}
	name, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
	if err != nil {
		return fmt.Sprintf(" (process %d)", pid)
	}
	return fmt.Sprintf(" (%s, process %d)", strings.TrimSpace(string(name)), pid)
}

// lockOwner finds the owner of a flock in the text of /proc/locks, whose lines
// read "1: FLOCK  ADVISORY  WRITE 123 08:01:4711 0 EOF". 0: none.
func lockOwner(locks string, inode uint64) int {
	for line := range strings.Lines(locks) {
		f := strings.Fields(line)
		if len(f) < 6 || f[1] != "FLOCK" || !strings.HasSuffix(f[5], ":"+strconv.FormatUint(inode, 10)) {
			continue
		}
		if pid, err := strconv.Atoi(f[4]); err == nil && pid > 0 {
			return pid
		}
	}
	return 0
}
