package main

import (
	"crypto/tls"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/ssg-safe/agent/internal/agenttest"
)

// TestRenewedCertificates: broker and webhook listener show a renewed certificate to
// who connects next, and keep the one before while the files are broken.
func TestRenewedCertificates(t *testing.T) {
	ca := agenttest.NewAuthority(t)
	certificate, key := ca.Issue("first")
	data, broker, hooks := t.TempDir(), freeAddress(t), freeAddress(t)
	must(t, data, "keys", "make")
	pair := fmt.Sprintf("certificate = %q\nprivate_key = %q\n", certificate, key)
	hub := startHub(t, data, fmt.Sprintf("[listen]\naddress = %q\n%s[webhook]\naddress = %q\n%s[[webhook.provider]]\nname = \"porta\"\ntype = \"basspago\"\npath = %s\n",
		broker, pair, hooks, pair, secretFile(t, strings.Repeat("p", 43))))
	shown := func(addr string) string {
		conn, err := (&tls.Dialer{Config: &tls.Config{RootCAs: ca.Pool}}).DialContext(t.Context(), "tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.(*tls.Conn).ConnectionState().PeerCertificates[0].Subject.CommonName
	}
	both := func(want string) {
		t.Helper()
		for _, addr := range []string{broker, hooks} {
			if got := shown(addr); got != want {
				t.Errorf("%s shows the certificate of %s, want %s's", addr, got, want)
			}
		}
	}
	write := func(path, from string) {
		raw, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(path, raw, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	both("first")
	newCertificate, newKey := ca.Issue("the second") // another length: seen whatever the clock's steps
	write(certificate, newCertificate)
	both("first")
	if n := strings.Count(hub.log.String(), "cannot be used"); n != 2 {
		t.Errorf("the log says %d times that the files do not fit, want once a listener", n)
	}
	write(key, newKey)
	both("the second")
}
