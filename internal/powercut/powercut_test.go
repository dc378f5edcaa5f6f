package powercut

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// trace is what strace -f -y wrote of two threads.
const trace = `100 pwrite64(7</d/store.db>, "ab\0\12\\\"\377" <unfinished ...>
101 write(1<pipe:[5]>, "hello\n", 6)  = 6
100 <... pwrite64 resumed>, 7, 4096) = 7
`

const good = `100 pwrite64(7</d/store.db>, "ab\0\12\\\"\377", 7, 4096 <unfinished ...>
101 write(1<pipe:[5]>, "hello\n", 6)  = 6
100 <... pwrite64 resumed>)           = 7
100 fdatasync(7</d/store.db> <unfinished ...>
101 renameat(AT_FDCWD</d>, "/d/x.tmp", AT_FDCWD</d>, "/d/x") = 0
100 <... fdatasync resumed>)          = 0
100 pwrite64(7</d/store.db>, "cd", 2, 0) = 2
100 fsync(7</d/store.db>)             = 0
100 +++ exited with 0 +++
`

func tell(c Call) string {
	switch c.Name {
	case "write":
		return strings.TrimSpace(string(c.Data))
	case "renameat":
		return "new " + c.File
	}
	return ""
}

func TestParse(t *testing.T) {
	got, err := Parse(strings.NewReader(good), "/d/store.db", tell)
	if err != nil {
		t.Fatal(err)
	}
	want := Recording{Steps: []Step{
		{Write: &Write{Off: 4096, Data: []byte("ab\x00\n\\\"\xff")}},
		{Told: "hello"},
		{Told: "new /d/x"},
		{Flushed: 1},
		{Write: &Write{Off: 0, Data: []byte("cd")}},
		{Flushed: 2},
	}}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("-got +want:\n%s", diff)
	}
}

func TestParseRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"arguments after the interruption": trace,
		"a cut string":                     `1 pwrite64(7</d/store.db>, "ab"..., 7, 0) = 7`,
		"a short write":                    `1 pwrite64(7</d/store.db>, "ab", 2, 0) = 1`,
		"a failed call":                    `1 pwrite64(7</d/store.db>, "ab", 2, 0) = -1 EIO (Input/output error)`,
		"a truncation":                     `1 ftruncate(7</d/store.db>, 12) = 0`,
		"a flush during a write":           "1 pwrite64(7</d/store.db>, \"ab\", 2, 0 <unfinished ...>\n2 fsync(7</d/store.db>) = 0",
	} {
		t.Run(name, func(t *testing.T) {
			if r, err := Parse(strings.NewReader(text), "/d/store.db", tell); err == nil {
				t.Errorf("read as %+v", r)
			}
		})
	}
}

// sample writes two pages, flushes, tells, writes and flushes one more.
func sample() Recording {
	page := func(b byte) []byte { return bytes.Repeat([]byte{b}, 1024) }
	return Recording{Steps: []Step{
		{Write: &Write{0, page('a')}},
		{Write: &Write{1024, page('b')}},
		{Flushed: 2},
		{Told: "ab"},
		{Write: &Write{0, page('c')}},
		{Flushed: 3},
		{Told: "c"},
	}}
}

// each collects the states of a recording of a file of 2048 zeros.
func each(t *testing.T, r Recording, budget int, check func(image string, told []string) error) (states int, faults []error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, make([]byte, 2048), 0o600); err != nil {
		t.Fatal(err)
	}
	states, faults, err := r.Each(path, budget, rand.New(rand.NewPCG(1, 2)), func(told []string) error {
		image, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		// One letter for each sector.
		return check(string([]byte{image[0], image[512], image[1024], image[1536]}), told)
	})
	if err != nil {
		t.Fatal(err)
	}
	return states, faults
}

func TestStates(t *testing.T) {
	seen := map[string][]string{}
	states, _ := each(t, sample(), 1000, func(image string, told []string) error {
		key := strings.ReplaceAll(image, "\x00", "-") + " " + strings.Join(told, ",")
		seen[key] = told
		return nil
	})
	// Before the first flush: all subsets of four sectors that tear at most one
	// write; before the second one, told "ab": all of two; after it one.
	for _, want := range []string{"---- ", "aabb ", "aa-- ", "--bb ", "a-bb ", "aab- ", "aabb ab", "ccbb ab", "cabb ab", "acbb ab", "ccbb ab,c"} {
		if _, ok := seen[want]; !ok {
			t.Errorf("%q was not made", want)
		}
	}
	for _, never := range []string{"--bb ab", "aab- ab", "aabb ab,c"} {
		if _, ok := seen[never]; ok {
			t.Errorf("%q cannot be", never)
		}
	}
	if states != len(seen) {
		t.Errorf("%d states, %d of them different", states, len(seen))
	}
}

// TestMutantsAreCaught: what is told must be in the file.
func TestMutantsAreCaught(t *testing.T) {
	check := func(image string, told []string) error {
		for _, what := range told {
			if what == "ab" && !strings.HasSuffix(image, "bb") || what == "c" && image != "ccbb" {
				return errors.New("lost " + what)
			}
		}
		return nil
	}
	if _, faults := each(t, sample(), 1000, check); len(faults) > 0 {
		t.Errorf("the recording itself: %v", faults)
	}
	for name, mutant := range map[string]Recording{"lying": sample().LyingDisk(1), "lying at times": sample().LyingDisk(2), "early": sample().ToldTooEarly()} {
		if _, faults := each(t, mutant, 1000, check); len(faults) == 0 {
			t.Errorf("%s: nothing is wrong", name)
		}
	}
}
