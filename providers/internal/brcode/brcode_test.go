package brcode

import (
	"strings"
	"testing"

	"github.com/ssg-safe/agent/pix"
)

func dynamic(t *testing.T, location string) string {
	t.Helper()
	code, err := pix.Dynamic{Location: location, Name: "LOJA", City: "RECIFE"}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// Checksum, GUI, recurrence and the rest of what a provider gets wrong are
// tested with the simulators' code faults.
func TestCheck(t *testing.T) {
	const key = "12345678000195"
	static, err := pix.Static{Key: key, Name: "LOJA", City: "RECIFE", Amount: 1234}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	hosts := []string{"pix.bank.example"}
	for _, tt := range []struct {
		name, code string
		want       Want
		says       string // empty: fit
	}{
		{"dynamic", dynamic(t, "pix.bank.example/qr/1"), Want{Amount: 1, Hosts: hosts}, ""},
		{"its own location", dynamic(t, "pix.bank.example/qr/1"), Want{Location: "pix.bank.example/qr/1"}, ""},
		{"its own location with a scheme", dynamic(t, "pix.bank.example/qr/1"), Want{Location: "https://pix.bank.example/qr/1"}, ""},
		{"another location of the host", dynamic(t, "pix.bank.example/qr/2"), Want{Hosts: hosts, Location: "pix.bank.example/qr/1"}, "leads elsewhere"},
		{"another host", dynamic(t, "evil.example/qr/1"), Want{Hosts: hosts}, "location_hosts"},
		{"host in the path", dynamic(t, "evil.example/pix.bank.example"), Want{Hosts: hosts}, "location_hosts"},
		{"static, our key", static, Want{Amount: 1234, Key: key}, ""},
		{"static, another amount", static, Want{Amount: 1235, Key: key}, "tag 54"},
		{"static, another key", static, Want{Amount: 1234, Key: "11222333000181"}, "not ours"},
		{"static where none will do", static, Want{Amount: 1234}, "a static code"},
		{"cut", static[:40], Want{Amount: 1234, Key: key}, "tag"},
		{"nothing", "", Want{}, "found nothing"},
	} {
		got := strings.Join(Check(tt.code, tt.want), "; ")
		if (tt.says == "") != (got == "") || !strings.Contains(got, tt.says) {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.says)
		}
	}
}

func TestHost(t *testing.T) {
	for location, want := range map[string]string{
		"pix.bank.example/qr/1": "pix.bank.example", "https://pix.bank.example/qr": "pix.bank.example", "PIX.bank.example/x": "PIX.bank.example",
		"pix.bank.example:8443/x": "", "pix.bank.example@evil.example/x": "", "%zz": "", "": "",
	} {
		if got := Host(location); got != want {
			t.Errorf("%q: got %q, want %q", location, got, want)
		}
	}
}

func TestShowable(t *testing.T) {
	for text, want := range map[string]bool{
		"0002": true, strings.Repeat("x", 512): true, strings.Repeat("x", 513): false, "00\x1b[2J": false, "ção": false,
	} {
		if got := Showable(text); got != want {
			t.Errorf("%.20q: got %v, want %v", text, got, want)
		}
	}
}
