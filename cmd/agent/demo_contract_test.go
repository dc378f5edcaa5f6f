package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/ssg-safe/agent/internal/agenttest"
	"github.com/ssg-safe/agent/pix"
)

// demoEvent is any line of `demo --headless --json`. Fields that a kind of event
// must have are pointers, so that absent is told from zero.
type demoEvent struct {
	Event, Charge, BRCode, Provider, Kind string
	Amount                                json.RawMessage
	Evidence                              json.RawMessage
	Confirmed                             *bool
	BytesFile                             string `json:"bytes_file"`
	PNGFile                               string `json:"png_file"`
	Charges, Paid, Printed                *int
	Synced                                *bool
}

// checkDemo holds the output of a headless demo of n charges to what DESIGN
// promises scripts and technicians: the events, in any order, a slip of each kind
// for every charge, pictures that decode to the charge's own code, and a summary.
// decode returns the texts of the codes in a picture.
func checkDemo(stdout []byte, n int, decode func(png string) ([]string, error)) []string {
	var problems []string
	fail := func(format string, a ...any) { problems = append(problems, fmt.Sprintf(format, a...)) }

	of := map[string][]demoEvent{}
	var last string
	for line := range bytes.Lines(stdout) {
		var e demoEvent
		if err := json.Unmarshal(line, &e); err != nil || e.Event == "" {
			fail("stdout carries something that is no event: %.80q", line)
			continue
		}
		of[e.Event] = append(of[e.Event], e)
		last = e.Event
	}
	if last != "summary" || len(of["summary"]) != 1 {
		fail("the last event is %q, with %d summaries; want one, at the end", last, len(of["summary"]))
	}

	codes := map[string]string{}
	for _, e := range of["charge_created"] {
		codes[e.Charge] = e.BRCode
		var cents int64
		if err := json.Unmarshal(e.Amount, &cents); err != nil || cents <= 0 {
			fail("charge %s: amount %s is not whole centavos", e.Charge, e.Amount)
		}
		if e.Provider == "" {
			fail("charge %s: no provider", e.Charge)
		}
		if err := pix.Validate(e.BRCode); err != nil {
			fail("charge %s: its code: %v", e.Charge, err)
		} else if code, err := pix.Parse(e.BRCode); err == nil {
			if stated, ok := code.Cents(); ok && int64(stated) != cents {
				fail("charge %s: created over %d, the code says %d", e.Charge, cents, stated)
			}
		}
	}
	count := func(what string, events []demoEvent) {
		seen := map[string]bool{}
		for _, e := range events {
			if _, created := codes[e.Charge]; !created {
				fail("%s of charge %q, which was not created", what, e.Charge)
			}
			seen[e.Charge] = true
		}
		if len(seen) != n {
			fail("%s: %d of %d charges", what, len(seen), n)
		}
	}
	count("charge_created", of["charge_created"])
	count("qr_shown", of["qr_shown"])
	count("charge_paid", of["charge_paid"])
	for _, e := range of["charge_paid"] {
		if s := string(e.Evidence); s == "" || s == "null" || s == `""` || s == "{}" {
			fail("charge %s was paid without evidence", e.Charge)
		}
	}
	slips := map[string][]demoEvent{}
	for _, e := range of["slip_printed"] {
		slips[e.Kind] = append(slips[e.Kind], e)
		what := e.Kind + " slip of " + e.Charge
		if e.Confirmed == nil || !*e.Confirmed {
			fail("%s was not confirmed by the printer", what)
		}
		if st, err := os.Stat(e.BytesFile); err != nil || st.Size() == 0 {
			fail("%s: bytes_file: %v", what, err)
		}
		found, err := decode(e.PNGFile)
		if err != nil {
			fail("%s: png_file: %v", what, err)
			continue
		}
		switch e.Kind {
		case "qr":
			if !slices.Equal(found, []string{codes[e.Charge]}) {
				fail("%s decodes to %.60q, not to the charge's code", what, found)
			}
		case "receipt":
			for _, text := range found {
				if _, err := pix.Parse(text); err == nil || slices.Contains(slices.Collect(maps.Values(codes)), text) {
					fail("%s carries a payable code", what)
				}
			}
		}
	}
	count("slip_printed qr", slips["qr"])
	count("slip_printed receipt", slips["receipt"])
	if len(slips) != 2 {
		fail("slips of kinds %q; want qr and receipt", slices.Sorted(maps.Keys(slips)))
	}
	for _, s := range of["summary"] {
		for name, got := range map[string]*int{"charges": s.Charges, "paid": s.Paid, "printed": s.Printed} {
			if got == nil || *got != n {
				fail("summary.%s is not %d", name, n)
			}
		}
		if s.Synced == nil {
			fail("summary.synced is missing")
		}
	}
	return problems
}

// zbar decodes the codes in a picture with a program that is not ours.
func zbar(t *testing.T) func(png string) ([]string, error) {
	zbarimg := agenttest.Tool(t, "zbarimg")
	return func(png string) ([]string, error) {
		out, err := exec.Command(zbarimg, "-q", "--raw", "--nodbus", png).Output()
		if exit, ok := err.(*exec.ExitError); ok && exit.ExitCode() == 4 { // no code in it
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("zbarimg: %w", err)
		}
		return strings.Split(strings.TrimRight(string(out), "\n"), "\n"), nil
	}
}

// runDemoContract runs a headless demo by the given command (the agent, perhaps
// under an emulator) and holds it to the contract.
func runDemoContract(t *testing.T, n int, command []string, flags ...string) {
	t.Helper()
	args := append(command[1:], "demo", "--headless", "--charges", strconv.Itoa(n), "--json", "--dir", filepath.Join(t.TempDir(), "state"))
	cmd := exec.CommandContext(t.Context(), command[0], append(args, flags...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %v\n%s\n%s", cmd.Args, err, stdout.Bytes(), stderr.Bytes())
	}
	for _, problem := range checkDemo(stdout.Bytes(), n, zbar(t)) {
		t.Error(problem)
	}
	if t.Failed() {
		t.Logf("stdout:\n%s\nstderr:\n%s", stdout.Bytes(), stderr.Bytes())
	}
}

func TestDemoContract(t *testing.T) {
	bin := agentBinary(t)
	t.Run("plain", func(t *testing.T) { runDemoContract(t, 5, []string{bin}) })
	t.Run("offline in the middle", func(t *testing.T) { runDemoContract(t, 5, []string{bin}, "--offline") })
}

// TestDemoOffline: with a bank that finds static codes, the charge in the middle
// of the run is made without it, and is paid and printed all the same.
func TestDemoOffline(t *testing.T) {
	var out, errs bytes.Buffer
	args := []string{"demo", "--headless", "--json", "--provider", "bacen", "--offline", "--charges", "2", "--dir", t.TempDir()}
	if code := run(t.Context(), &globals{stdout: &out, stderr: &errs}, args); code != 0 {
		t.Fatalf("exit %d: %s\n%s", code, errs.String(), out.String())
	}
	for _, p := range checkDemo(out.Bytes(), 2, zbar(t)) {
		t.Error(p)
	}
	own := 0
	for line := range bytes.Lines(out.Bytes()) {
		var e demoEvent
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatal(err)
		}
		if code, err := pix.Parse(e.BRCode); e.Event == "charge_created" && err == nil && code.TxID == e.Charge {
			own++
		}
	}
	if own != 1 {
		t.Errorf("%d codes of the terminal's own, want 1\n%s", own, out.String())
	}
}

// Each way of breaking the contract must be noticed.
func TestDemoContractCheckCatches(t *testing.T) {
	code := func(txid string) string {
		text, err := pix.Static{Key: "pix@example.com", Name: "LOJA", City: "SAO PAULO", TxID: txid, Amount: 100}.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	file := filepath.Join(t.TempDir(), "slip.bin")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	a, b := code("A"), code("B")
	lines := []string{
		`{"event":"charge_created","charge":"A","amount":100,"brcode":"` + a + `","provider":"ssg"}`,
		`{"event":"charge_created","charge":"B","amount":100,"brcode":"` + b + `","provider":"ssg"}`,
	}
	for _, c := range []string{"A", "B"} {
		lines = append(lines,
			`{"event":"qr_shown","charge":"`+c+`"}`,
			`{"event":"slip_printed","charge":"`+c+`","kind":"qr","confirmed":true,"bytes_file":"`+file+`","png_file":"qr-`+c+`"}`,
			`{"event":"charge_paid","charge":"`+c+`","amount":100,"evidence":{"grade":"A"}}`,
			`{"event":"slip_printed","charge":"`+c+`","kind":"receipt","confirmed":true,"bytes_file":"`+file+`","png_file":"receipt-`+c+`"}`)
	}
	lines = append(lines, `{"event":"summary","charges":2,"paid":2,"printed":2,"synced":false}`)
	good := strings.Join(lines, "\n") + "\n"
	pictures := map[string][]string{"qr-A": {a}, "qr-B": {b}}
	decode := func(png string) ([]string, error) { return pictures[png], nil }
	if problems := checkDemo([]byte(good), 2, decode); problems != nil {
		t.Fatalf("a good run: %q", problems)
	}
	for _, test := range []struct {
		name     string
		old, new string
		says     string
	}{
		{"noise", `{"event":"summary"`, "done!\n" + `{"event":"summary"`, "no event"},
		{"no summary", `{"event":"summary"`, `{"event":"end"`, "last event"},
		{"amount with a point", `"charge":"A","amount":100,"br`, `"charge":"A","amount":1.0,"br`, "whole centavos"},
		{"amount as text", `"charge":"A","amount":100,"br`, `"charge":"A","amount":"100","br`, "whole centavos"},
		{"other amount than the code", `"charge":"A","amount":100,"br`, `"charge":"A","amount":101,"br`, "the code says 100"},
		{"broken code", a, a[:len(a)-1] + "0", "its code"},
		{"never shown", `{"event":"qr_shown","charge":"A"}`, `{"event":"x"}`, "qr_shown: 1 of 2"},
		{"no evidence", `"evidence":{"grade":"A"}`, `"evidence":{}`, "without evidence"},
		{"foreign charge", `{"event":"charge_paid","charge":"A"`, `{"event":"charge_paid","charge":"C"`, "not created"},
		{"not confirmed", `"kind":"qr","confirmed":true`, `"kind":"qr","confirmed":false`, "not confirmed"},
		{"confirmation missing", `"kind":"qr","confirmed":true`, `"kind":"qr"`, "not confirmed"},
		{"no bytes", file, file + ".none", "bytes_file"},
		{"picture of another charge", "qr-A", "qr-B", "not to the charge's code"},
		{"picture without a code", "qr-A", "receipt-A", "not to the charge's code"},
		{"payable receipt", "receipt-A", "qr-A", "payable code"},
		{"no receipt", `"kind":"receipt"`, `"kind":"coupon"`, "slip_printed receipt: 1 of 2"},
		{"summary counts less", `"paid":2`, `"paid":1`, "summary.paid"},
		{"summary without synced", `,"synced":false`, ``, "summary.synced"},
	} {
		t.Run(test.name, func(t *testing.T) {
			bad := strings.Replace(good, test.old, test.new, 1)
			if bad == good {
				t.Fatal("the mutation changed nothing")
			}
			problems := strings.Join(checkDemo([]byte(bad), 2, decode), "\n")
			if !strings.Contains(problems, test.says) {
				t.Errorf("got %q, want something about %q", problems, test.says)
			}
		})
	}
}
