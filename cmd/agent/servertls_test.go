package main

import (
	"crypto/tls"
	"log/slog"
	"net/http"
	"os"
	"testing"

	"github.com/ssg-safe/agent/internal/agenttest"
	"github.com/ssg-safe/agent/localapi"
)

// TestRenewedCertificate: the listener of API and façade shows a renewed certificate
// to who connects next.
func TestRenewedCertificate(t *testing.T) {
	ca := agenttest.NewAuthority(t)
	certificate, key := ca.Issue("kiosk")
	own, err := serverTLS("facade.certificate", certificate, key, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l, err := localapi.Listen("127.0.0.1:0", own)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.NotFoundHandler()}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	serial := func() string {
		conn, err := (&tls.Dialer{Config: &tls.Config{RootCAs: ca.Pool}}).DialContext(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	first := serial()
	if again := serial(); again != first {
		t.Fatal("another certificate, and nothing changed")
	}
	// The longer name makes files of another size, whatever the clock's steps.
	other, otherKey := ca.Issue("a kiosk with a longer name")
	if err := os.Rename(other, certificate); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(otherKey, key); err != nil {
		t.Fatal(err)
	}
	if serial() == first {
		t.Error("the old certificate is shown")
	}
	if _, err := serverTLS("facade.certificate", certificate, certificate, nil); err == nil {
		t.Error("a certificate is taken for a key")
	}
}
