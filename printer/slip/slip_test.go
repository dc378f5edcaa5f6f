package slip_test

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ssg-safe/agent/pix"
	"github.com/ssg-safe/agent/printer"
	"github.com/ssg-safe/agent/printer/emulator"
	"github.com/ssg-safe/agent/printer/slip"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// brcode is a static code of the usual length.
func brcode(t testing.TB) string {
	t.Helper()
	code, err := pix.Static{
		Key: "123e4567-e89b-12d3-a456-426655440000", Name: "COFRE TESTE LTDA", City: "SAO PAULO",
		Amount: 123456, TxID: "T0010ABCDEFGHIJKLMNOPQRST",
	}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return code
}

var (
	zone     = time.FixedZone("BRT", -3*60*60)
	issued   = time.Date(2025, 11, 21, 21, 30, 5, 0, zone)
	merchant = slip.Merchant{
		Name: "Padaria São João Ltda", CNPJ: "12345678000195",
		Lines: []string{"Av. Conceição, 1200 - São Paulo/SP", "Tel. (11) 3333-4444"},
	}
)

func qrSlip(t testing.TB) slip.QRSlip {
	return slip.QRSlip{
		Merchant: merchant, Terminal: "T001", NSU: 123, Amount: 123456, BRCode: brcode(t), Payee: "COFRE TESTE LTDA",
		TxID: "T0010ABCDEFGHIJKLMNOPQRST", ExpiresAt: issued.Add(15 * time.Minute), At: issued, Copy: 1,
	}
}

func receipt() slip.Receipt {
	return slip.Receipt{
		Merchant: merchant, Terminal: "T001", NSU: 124, Amount: 123456,
		TxID: "T0010ABCDEFGHIJKLMNOPQRSTX0000000001", EndToEnd: "E12345678202511220030abcDEF12345",
		Provider: "SSG PIX", PaidAt: issued.Add(40 * time.Second), At: issued.Add(42 * time.Second),
		PayerName: "Maria Aparecida da Silva", PayerDocument: "12345678909", Copy: 1,
	}
}

func slips(t testing.TB) map[string]printer.Document {
	copied := qrSlip(t)
	copied.Copy = 2
	late := receipt()
	late.Late, late.Copy = true, 3
	least := slip.Receipt{Merchant: slip.Merchant{Name: "Loja"}, Terminal: "1", NSU: 1, Amount: 1, TxID: "X", At: issued}
	return map[string]printer.Document{
		"qr":              qrSlip(t).Document(),
		"qr-copy":         copied.Document(),
		"receipt":         receipt().Document(),
		"receipt-late":    late.Document(),
		"receipt-minimal": least.Document(),
	}
}

// papers are all that is printed: what payers get, and what operators get.
func papers(t testing.TB, p printer.Profile) map[string]printer.Document {
	all := slips(t)
	z := slip.Closing{
		Merchant: merchant, Terminal: "T001", NSU: 125, Number: 12, Date: "2025-11-21", From: "1/5204", To: "1/5391", At: issued, Copy: 1,
		Providers: []slip.ClosingProvider{
			{Name: "ssg", Paid: slip.Total{Count: 37, Sum: 1234567}, Late: slip.Total{Count: 1, Sum: 990}, Created: slip.Total{Count: 45, Sum: 1500000}, Expired: slip.Total{Count: 6, Sum: 240000}, Cancelled: slip.Total{Count: 2, Sum: 24443}},
			{Mismatch: slip.Total{Count: 1, Sum: 5}, Extra: slip.Total{Count: 1, Sum: 1000}, Refund: slip.Total{Count: 1, Sum: 500}, Failed: slip.Total{Count: 3, Sum: 3000}},
		},
	}
	x := slip.Closing{Merchant: merchant, Terminal: "T001", NSU: 126, Date: "2025-11-22", From: "1/5391", To: "1/5391", At: issued, Copy: 2}
	all["closing"], all["look"] = z.Document(), x.Document()
	all["test"] = slip.Test{Terminal: "T001", Profile: p, At: issued}.Document()
	return all
}

// TestGolden holds text and bytes of every slip on every paper to files that a
// person has looked at.
func TestGolden(t *testing.T) {
	for _, p := range printer.Profiles() {
		for name, doc := range papers(t, p) {
			t.Run(p.Name+"/"+name, func(t *testing.T) {
				job, err := printer.Encode(doc, p, "golden/"+name)
				if err != nil {
					t.Fatal(err)
				}
				printed := render(t, job, p)
				file := filepath.Join("testdata", p.Name+"-"+name)
				golden(t, file+".bin", job)
				golden(t, file+".txt", []byte(printed.Text()))
				if id := printer.ProcessID("golden/" + name); !cmp.Equal(printed.ProcessIDs, [][4]byte{id}) {
					t.Errorf("process ids %q, want %q", printed.ProcessIDs, id)
				}
			})
		}
	}
}

// render prints a job that must make exactly one slip without a problem.
func render(t testing.TB, job []byte, p printer.Profile) emulator.Slip {
	t.Helper()
	out := emulator.Render(job, p.Dots)
	if len(out) != 1 {
		t.Fatalf("%d slips, want 1", len(out))
	}
	if len(out[0].Problems) > 0 {
		t.Fatalf("problems: %v", out[0].Problems)
	}
	return out[0]
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s (-want +got):\n%s", name, d)
	}
}

// TestZbar reads the code of the printed QR slip back with a decoder that is
// not ours, and finds none on a receipt.
func TestZbar(t *testing.T) {
	if _, err := exec.LookPath("zbarimg"); err != nil {
		t.Fatal("zbarimg is needed (Debian: zbar-tools)")
	}
	for _, p := range printer.Profiles() {
		for name, doc := range papers(t, p) {
			want := ""
			switch {
			case strings.HasPrefix(name, "qr"):
				want = brcode(t)
			case name == "test":
				want = "TESTE DE IMPRESSAO: ESTE CODIGO NAO E UM PIX"
			}
			job, err := printer.Encode(doc, p, name)
			if err != nil {
				t.Fatal(err)
			}
			png := filepath.Join(t.TempDir(), "slip.png")
			var b bytes.Buffer
			if err := render(t, job, p).PNG(&b); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(png, b.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := exec.Command("zbarimg", "-q", "--raw", "--nodbus", png).Output()
			if exit, ok := err.(*exec.ExitError); ok && exit.ExitCode() == 4 {
				err = nil // nothing found
			}
			if err != nil {
				t.Fatalf("zbarimg: %v", err)
			}
			if string(bytes.TrimSpace(got)) != want {
				t.Errorf("%s on %s reads as %q, want %q", name, p.Name, got, want)
			}
		}
	}
}
