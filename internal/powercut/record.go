package powercut

import (
	"bufio"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
)

// Calls are the system calls that strace must record for [Parse], with the
// options -f -y -s 16777216.
const Calls = "write,pwrite64,ftruncate,fsync,fdatasync,renameat,renameat2,rename"

// Write is one write to the file: bytes at an offset.
type Write struct {
	Off  int64
	Data []byte
}

// Step is one thing that happened; exactly one of its fields is set.
type Step struct {
	// Write began.
	Write *Write
	// Flushed: a flush returned, and the first so many writes of the recording
	// are durable. 0: none is.
	Flushed int
	// Told: the world was told something.
	Told string
}

// Recording is what a program did to one file and told meanwhile, in order.
type Recording struct{ Steps []Step }

// Call is a write or rename of another file, which may tell the world something.
type Call struct {
	Name string // write, pwrite64, renameat …
	File string // the path as strace -y names it; for a rename the new name
	Data []byte // of a write
}

// line is a call of strace -f -y, whole or cut in two by another thread's.
var (
	line    = regexp.MustCompile(`^(\d+) +(\w+)\((.*)$`)
	resumed = regexp.MustCompile(`^(\d+) +<\.\.\. (\w+) resumed>`)
	onFile  = regexp.MustCompile(`^\d+<([^>]*)>(.*)$`)
	quoted  = regexp.MustCompile(`"((?:[^"\\]|\\.)*)"`)
	offset  = regexp.MustCompile(`, (\d+), (\d+)(?:\) += (\d+|\?.*)|\)? <unfinished \.\.\.>)$`)
	failed  = regexp.MustCompile(`\) += -1 `)
)

// Parse reads the output of strace for the file of the given path. tell says
// what a call on any other file tells the world; "" is nothing. It is told when
// the call begins. A call that changes the file in a way that is not part of the
// model, or that failed, is an error.
func Parse(trace io.Reader, path string, tell func(Call) string) (Recording, error) {
	var r Recording
	begun, done := 0, 0
	type open struct{ write, flush bool }
	under := map[string]open{} // by thread
	covers := map[string]int{} // by thread: what its flush will have made durable
	finish := func(thread string) {
		o := under[thread]
		delete(under, thread)
		switch {
		case o.write:
			done++
		case o.flush:
			r.Steps = append(r.Steps, Step{Flushed: covers[thread]})
		}
	}
	lines := bufio.NewScanner(trace)
	lines.Buffer(nil, 256<<20)
	for n := 1; lines.Scan(); n++ {
		text := lines.Text()
		if m := resumed.FindStringSubmatch(text); m != nil {
			finish(m[1])
			continue
		}
		m := line.FindStringSubmatch(text)
		if m == nil {
			continue // an exit or a signal
		}
		thread, call, args := m[1], m[2], m[3]
		name, rest := "", ""
		if f := onFile.FindStringSubmatch(args); f != nil {
			name, rest = f[1], f[2]
		}
		whole := !strings.HasSuffix(text, "<unfinished ...>")
		if name != path {
			c := Call{Name: call, File: name}
			if strings.HasPrefix(call, "rename") {
				if names := quoted.FindAllStringSubmatch(args, -1); len(names) == 2 {
					c.File = names[1][1]
				}
			} else if q := quoted.FindStringSubmatch(rest); q != nil {
				c.Data = unescape(q[1])
			}
			if said := tell(c); said != "" {
				r.Steps = append(r.Steps, Step{Told: said})
			}
			continue
		}
		if failed.MatchString(text) {
			return r, fmt.Errorf("line %d: a call failed: %.120s", n, text)
		}
		switch call {
		case "pwrite64":
			q, at := quoted.FindStringSubmatch(rest), offset.FindStringSubmatch(rest)
			if q == nil || at == nil {
				return r, fmt.Errorf("line %d: cannot be read: %.120s", n, text)
			}
			w := &Write{Data: unescape(q[1])}
			size, _ := strconv.Atoi(at[1])
			w.Off, _ = strconv.ParseInt(at[2], 10, 64)
			if len(w.Data) != size || at[3] != "" && at[3] != at[1] {
				return r, fmt.Errorf("line %d: %d of %s bytes were recorded, %s written", n, len(w.Data), at[1], at[3])
			}
			r.Steps = append(r.Steps, Step{Write: w})
			begun++
			under[thread] = open{write: true}
		case "fsync", "fdatasync":
			if begun != done {
				return r, fmt.Errorf("line %d: a flush while a write is under way", n)
			}
			under[thread], covers[thread] = open{flush: true}, done
		default:
			return r, fmt.Errorf("line %d: %s is not in the model", n, call)
		}
		if whole {
			finish(thread)
		}
	}
	if err := lines.Err(); err != nil {
		return r, fmt.Errorf("read trace: %w", err)
	}
	return r, nil
}

// unescape undoes strace's string form.
func unescape(s string) []byte {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			out = append(out, s[i])
			continue
		}
		i++
		switch c := s[i]; c {
		case 'n':
			out = append(out, '\n')
		case 't':
			out = append(out, '\t')
		case 'r':
			out = append(out, '\r')
		case 'v':
			out = append(out, '\v')
		case 'f':
			out = append(out, '\f')
		case '0', '1', '2', '3', '4', '5', '6', '7':
			v, end := 0, min(i+3, len(s))
			for ; i < end && s[i] >= '0' && s[i] <= '7'; i++ {
				v = v*8 + int(s[i]-'0')
			}
			i--
			out = append(out, byte(v))
		default:
			out = append(out, c)
		}
	}
	return out
}

// LyingDisk is the recording on a disk whose every nth flush does nothing, until
// a later one does.
func (r Recording) LyingDisk(nth int) Recording {
	var out Recording
	flushes, durable := 0, 0
	for _, s := range r.Steps {
		if s.Write == nil && s.Told == "" {
			if flushes++; flushes%nth != 0 {
				durable = s.Flushed
			}
			s.Flushed = durable
		}
		out.Steps = append(out.Steps, s)
	}
	return out
}

// ToldTooEarly is a program that tells everything a commit (two flushes) before
// it did.
func (r Recording) ToldTooEarly() Recording {
	var out Recording
	for _, s := range r.Steps {
		if s.Told == "" {
			out.Steps = append(out.Steps, s)
			continue
		}
		at, flushes := len(out.Steps), 0
		for ; at > 0; at-- {
			if p := out.Steps[at-1]; p.Write == nil && p.Told == "" {
				if flushes++; flushes > 2 {
					break
				}
			}
		}
		out.Steps = append(out.Steps[:at], append([]Step{s}, out.Steps[at:]...)...)
	}
	return out
}
