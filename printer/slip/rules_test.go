package slip_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/ssg-safe/agent/printer"
	"github.com/ssg-safe/agent/printer/slip"
)

// TestRules: what every slip says, and what none may.
func TestRules(t *testing.T) {
	p := printer.Profiles()[0]
	for name, doc := range slips(t) {
		job, err := printer.Encode(doc, p, name)
		if err != nil {
			t.Fatal(err)
		}
		text := render(t, job, p).Text()
		for _, must := range []string{"NÃO É DOCUMENTO FISCAL", "NSU", "Terminal", "Emitido em", "TXID"} {
			if !strings.Contains(text, must) {
				t.Errorf("%s does not say %q", name, must)
			}
		}
		for _, never := range []string{"12345678909", "123.456.789", "Aparecida", "Silva"} {
			if strings.Contains(text, never) || strings.Contains(string(job), never) {
				t.Errorf("%s says %q", name, never)
			}
		}
		code := slices.ContainsFunc(doc.Blocks, func(b printer.Block) bool { _, is := b.(printer.QR); return is })
		if code != strings.HasPrefix(name, "qr") || !code && strings.Contains(text, "br.gov.bcb.pix") {
			t.Errorf("%s: payable code %v", name, code)
		}
	}
}

// TestCopies: a reprint says so, the first print does not.
func TestCopies(t *testing.T) {
	p := printer.Profiles()[0]
	for n, want := range map[int]string{0: "", 1: "", 2: "2ª VIA", 3: "3ª VIA", 12: "12ª VIA"} {
		q, r := qrSlip(t), receipt()
		q.Copy, r.Copy = n, n
		for _, doc := range []printer.Document{q.Document(), r.Document()} {
			job, err := printer.Encode(doc, p, "1")
			if err != nil {
				t.Fatal(err)
			}
			text := render(t, job, p).Text()
			if want == "" && strings.Contains(text, "ª VIA") || !strings.Contains(text, want) {
				t.Errorf("copy %d: %q missing, or too much, in\n%s", n, want, text)
			}
		}
	}
}

// TestHostile: whatever payers, providers and operators are called, the job
// makes one slip and no command of theirs reaches the printer.
func TestHostile(t *testing.T) {
	const evil = "\x1bp\x00\x19\xfa\x10\x14\x01\x00\x01\x1dV\x00\x1b@Maria\x00\x7f\u009b"
	m := slip.Merchant{Name: evil, CNPJ: evil, Lines: []string{evil, evil}}
	for _, p := range printer.Profiles() {
		for _, doc := range []printer.Document{
			slip.Receipt{
				Merchant: m, Terminal: evil, Amount: 1, TxID: evil, EndToEnd: evil, Provider: evil,
				PayerName: evil, PayerDocument: evil, PaidAt: issued, At: issued,
			}.Document(),
			slip.QRSlip{Merchant: m, Terminal: evil, Amount: 1, TxID: evil, Payee: evil, BRCode: brcode(t), At: issued}.Document(),
		} {
			job, err := printer.Encode(doc, p, evil)
			if err != nil {
				t.Fatal(err)
			}
			render(t, job, p) // one slip, no problem
		}
	}
	bad := qrSlip(t)
	bad.BRCode += evil
	if _, err := printer.Encode(bad.Document(), printer.Profiles()[0], "1"); err == nil {
		t.Error("a code with control characters was encoded")
	}
}
