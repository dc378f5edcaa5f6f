package main

import (
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	const pass = `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"quiet\n"}
{"Action":"pass","Package":"p","Test":"TestA","Elapsed":6.5}
{"Action":"output","Package":"p","Output":"ok p 7s\n"}
{"Action":"pass","Package":"p","Elapsed":7}
`
	const skip = `{"Action":"output","Package":"q","Test":"TestB","Output":"no printer\n"}
{"Action":"skip","Package":"q","Test":"TestB","Elapsed":0}
{"Action":"pass","Package":"q","Elapsed":0.1}
`
	for _, test := range []struct {
		name, events string
		allow        map[string]string
		good         bool
		says         []string
		saysNot      string
	}{
		{"pass", pass, nil, true, []string{"ok    p  1 tests, 7.0 s", "slow     6.5 s  p TestA", "1 passed, 0 failed, 0 skipped"}, "quiet"},
		{"skip", pass + skip, nil, false, []string{"SKIP  q TestB (not allowed", "no printer", "1 passed, 0 failed, 1 skipped"}, ""},
		{"allowed skip", pass + skip, map[string]string{"TestB": "no hardware"}, true, []string{"SKIP  q TestB (no hardware)", "1 skipped"}, "not allowed"},
		{"package without tests", pass + `{"Action":"output","Package":"r","Output":"? r [no test files]\n"}
{"Action":"skip","Package":"r"}
`, nil, true, []string{"1 passed, 0 failed, 0 skipped"}, "no test files"},
		{"fail", pass + `{"Action":"output","Package":"q","Test":"TestC","Output":"got 1, want 2\n"}
{"Action":"fail","Package":"q","Test":"TestC","Elapsed":0}
{"Action":"fail","Package":"q","Elapsed":0.1}
`, nil, false, []string{"got 1, want 2", "FAIL  q", "1 passed, 1 failed, 0 skipped"}, ""},
		{"death", pass + `{"Action":"output","Package":"q","Test":"TestC","Output":"panic: test timed out\n"}
{"Action":"output","Package":"q","Output":"exit status 2\n"}
{"Action":"fail","Package":"q","Elapsed":0.1}
`, nil, false, []string{"panic: test timed out", "exit status 2", "FAIL  q"}, ""},
		{"does not build", pass + `{"ImportPath":"q","Action":"build-output","Output":"q.go:1: undefined: x\n"}
{"ImportPath":"q","Action":"build-fail"}
{"Action":"fail","Package":"q","Elapsed":0,"FailedBuild":"q"}
`, nil, false, []string{"undefined: x", "FAIL  q"}, ""},
		{"nothing ran", "", nil, false, []string{"no test ran", "0 passed, 0 failed, 0 skipped"}, ""},
		{"the go command speaks", pass + "go: updates to go.mod needed\n", nil, true, []string{"go: updates to go.mod needed"}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out strings.Builder
			if good := report(strings.NewReader(test.events), &out, test.allow); good != test.good {
				t.Errorf("good: got %v, want %v", good, test.good)
			}
			for _, part := range test.says {
				if !strings.Contains(out.String(), part) {
					t.Errorf("does not say %q:\n%s", part, out.String())
				}
			}
			if test.saysNot != "" && strings.Contains(out.String(), test.saysNot) {
				t.Errorf("says %q:\n%s", test.saysNot, out.String())
			}
		})
	}
}
