package display

import (
	"fmt"
	"testing"
	"time"

	"github.com/ssg-safe/agent/pix"
)

// TestGoldenScreens compares every screen with its picture: in pt-BR at the
// four sizes, in English at one. At 100x30 what each cell means is compared,
// too.
func TestGoldenScreens(t *testing.T) {
	for _, size := range sizes {
		for _, state := range states() {
			t.Run(size.name+"/"+string(state), func(t *testing.T) {
				p, d := shoot(t, testOptions(), sample(state), size.w, size.h)
				got := p.String()
				if size.name == "100x30" {
					got += p.roles()
				}
				golden(t, fmt.Sprintf("screens/pt-BR/%s-%s.txt", state, size.name), got)
				if want := state == QR; d.QR != want {
					t.Errorf("got Drawn.QR %v, want %v", d.QR, want)
				}
			})
		}
	}
	for _, state := range states() {
		t.Run("en/"+string(state), func(t *testing.T) {
			o := testOptions()
			o.Locale = "en"
			p, _ := shoot(t, o, sample(state), 100, 30)
			golden(t, fmt.Sprintf("screens/en/%s-100x30.txt", state), p.String())
		})
	}
}

// TestGoldenVariants are the screens that differ by more than their texts.
func TestGoldenVariants(t *testing.T) {
	big, err := pix.Static{
		Key: "123e4567-e89b-12d3-a456-426614174000", Name: "COMERCIO DE TESTE COMPLETO", City: "SAO JOSE DO RIO",
		Amount: 1234567, TxID: "a1b2c3d4e5f6g7h8j9k0m1n2p",
	}.Encode()
	if err == nil {
		t.Fatalf("a name of 26 characters was accepted: %d bytes", len(big))
	}
	big, err = pix.Static{
		Key: "123e4567-e89b-12d3-a456-426614174000", Name: "COMERCIO DE TESTE COMPLET", City: "SAO JOSE DO RIO",
		Amount: 1234567, TxID: "a1b2c3d4e5f6g7h8j9k0m1n2p",
	}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	withCode := func(code string, printed bool) View {
		v := sample(QR)
		v.Code, v.Printed = code, printed
		return v
	}
	late := sample(QR)
	late.Remaining = 9500 * time.Millisecond
	over := sample(Amount)
	over.Amount = 500001
	under := sample(Amount)
	under.Amount = 99
	typed := sample(Amount)
	typed.Amount = 0
	full := sample(Unavailable)
	full.ErrorCode = ErrFull
	unknown := sample(Error)
	unknown.ErrorCode = "E77"
	down := sample(Idle)
	down.Status = Status{Network: Down, Printer: Down, Clock: Down, Pending: 1234}
	offline := sample(QR)
	offline.Offline, offline.Status.Unfound = true, Unfound{Count: 1000, Sum: 123456789, Age: 72 * time.Hour}
	released := sample(Held)
	released.Released = true
	unprinted := sample(Cancelled)
	unprinted.Printed = false

	for _, tc := range []struct {
		name string
		view View
		w, h int
		demo bool
		qr   bool
	}{
		{"qr-printed-60x24", withCode(big, true), 60, 24, false, false},
		{"qr-nowhere-60x24", withCode(big, false), 60, 24, false, false},
		{"qr-without-code-80x25", withCode("", false), 80, 25, false, false},
		{"qr-whole-height-80x25", withCode(big, false), 80, 25, true, true},
		{"qr-whole-width-56x30", withCode(big, false), 56, 30, true, true},
		{"qr-demo-100x30", sample(QR), 100, 30, true, true},
		{"qr-last-seconds-100x30", late, 100, 30, false, true},
		{"qr-offline-80x25", offline, 80, 25, false, true},
		{"qr-offline-60x50", offline, 60, 50, false, true},
		{"held-released-80x25", released, 80, 25, false, false},
		{"held-smallest", released, minCols, minRows, false, false},
		{"amount-over-100x30", over, 100, 30, false, false},
		{"amount-under-100x30", under, 100, 30, false, false},
		{"amount-empty-100x30", typed, 100, 30, false, false},
		{"unavailable-full-80x25", full, 80, 25, false, false},
		{"error-unknown-code-80x25", unknown, 80, 25, false, false},
		{"idle-all-down-80x25", down, 80, 25, false, false},
		{"cancelled-unprinted-80x25", unprinted, 80, 25, false, false},
		{"idle-smallest", sample(Idle), minCols, minRows, true, false},
		{"paid-smallest", sample(Paid), minCols, minRows, true, false},
		{"qr-smallest", sample(QR), minCols, minRows, true, false},
		{"tiny-35x14", sample(Idle), 35, 14, false, false},
		{"tiny-12x1", sample(Idle), 12, 1, false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := testOptions()
			o.Demo = tc.demo
			p, d := shoot(t, o, tc.view, tc.w, tc.h)
			golden(t, "screens/variants/"+tc.name+".txt", p.String()+p.roles())
			if d.QR != tc.qr {
				t.Errorf("got Drawn.QR %v, want %v", d.QR, tc.qr)
			}
		})
	}
}
