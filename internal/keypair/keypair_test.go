package keypair_test

import (
	"bytes"
	"crypto/tls"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ssg-safe/agent/internal/agenttest"
	"github.com/ssg-safe/agent/internal/keypair"
)

// files are a pair that tests replace.
type files struct {
	*testing.T
	ca        *agenttest.Authority
	cert, key string
	changes   int
}

// put replaces a file, as a program for renewals does: at once, by another.
func (f *files) put(path string, from string) {
	f.Helper()
	raw, err := os.ReadFile(from)
	if err != nil {
		f.Fatal(err)
	}
	f.write(path, raw)
}

// write also moves the time on, which a fast machine may not have done.
func (f *files) write(path string, raw []byte) {
	f.Helper()
	f.changes++
	tmp, at := path+".tmp", time.Now().Add(time.Duration(f.changes)*time.Second)
	if err := os.WriteFile(tmp, raw, 0o600); err != nil {
		f.Fatal(err)
	}
	if err := os.Chtimes(tmp, at, at); err != nil {
		f.Fatal(err)
	}
	if err := os.Rename(tmp, path); err != nil {
		f.Fatal(err)
	}
}

// shown is whose certificate a server shows to who connects, and who it says the
// client is.
func shown(t *testing.T, p *keypair.Pair, client *tls.Config) (server, caller string) {
	t.Helper()
	here, there := net.Pipe()
	defer here.Close()
	defer there.Close()
	s := tls.Server(there, &tls.Config{GetCertificate: p.Server, MinVersion: tls.VersionTLS12, ClientAuth: tls.RequestClientCert})
	done := make(chan error, 1)
	go func() { done <- s.Handshake() }()
	c := tls.Client(here, client)
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if certs := s.ConnectionState().PeerCertificates; len(certs) > 0 {
		caller = certs[0].Subject.CommonName
	}
	return c.ConnectionState().PeerCertificates[0].Subject.CommonName, caller
}

// TestRenewal: a renewed certificate is shown to the next who connects; whatever is
// wrong with the new files, the old one is shown further, and the log says so once.
func TestRenewal(t *testing.T) {
	f := &files{T: t, ca: agenttest.NewAuthority(t)}
	dir := t.TempDir()
	f.cert, f.key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	cert, key := f.ca.Issue("first")
	f.put(f.cert, cert)
	f.put(f.key, key)
	var log bytes.Buffer
	p, err := keypair.Load(f.cert, f.key, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	trusting := &tls.Config{RootCAs: f.ca.Pool, ServerName: "localhost", MinVersion: tls.VersionTLS12}
	expect := func(what, name, says string, lines int) {
		t.Helper()
		for range 3 {
			if got, _ := shown(t, p, trusting); got != name {
				t.Fatalf("%s: the certificate of %s is shown, want %s's", what, got, name)
			}
		}
		if got := log.String(); strings.Count(got, "\n") != lines || !strings.Contains(got, says) {
			t.Errorf("%s: logged, want %d lines with %q:\n%s", what, lines, says, got)
		}
		log.Reset()
	}
	expect("nothing changed", "first", "", 0)

	cert, key = f.ca.Issue("second")
	f.put(f.cert, cert)
	expect("the certificate alone", "first", "private key does not match", 1)
	f.put(f.key, key)
	expect("with its key", "second", "a new certificate is used", 1)

	f.write(f.cert, []byte("<html>502</html>"))
	expect("no certificate", "second", "used further", 1)
	if err := os.Remove(f.key); err != nil {
		t.Fatal(err)
	}
	expect("no key at all", "second", "no such file", 1)
	cert, key = f.ca.Issue("third")
	f.put(f.key, key)
	expect("the key first", "second", "used further", 1)
	f.put(f.cert, cert)
	expect("then the certificate", "third", "a new certificate is used", 1)

	// A link that is put elsewhere, as certbot and Kubernetes do.
	if err := os.Remove(f.cert); err != nil {
		t.Fatal(err)
	}
	cert, key = f.ca.Issue("fourth")
	if err := os.Symlink(cert, f.cert); err != nil {
		t.Fatal(err)
	}
	f.put(f.key, key)
	expect("by a link", "fourth", "a new certificate is used", 1)
}

// TestClient: who connects shows the renewed certificate, too.
func TestClient(t *testing.T) {
	ca := agenttest.NewAuthority(t)
	f := &files{T: t, ca: ca}
	dir := t.TempDir()
	f.cert, f.key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	cert, key := ca.Issue("first")
	f.put(f.cert, cert)
	f.put(f.key, key)
	p, err := keypair.Load(f.cert, f.key, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &tls.Config{RootCAs: ca.Pool, ServerName: "localhost", MinVersion: tls.VersionTLS12, GetClientCertificate: p.Client}
	for _, name := range []string{"first", "second"} {
		if _, caller := shown(t, p, client); caller != name {
			t.Errorf("it is %s who calls, want %s", caller, name)
		}
		cert, key = ca.Issue("second")
		f.put(f.cert, cert)
		f.put(f.key, key)
	}
}

// TestLoad: what is wrong at the start is an error that names both files.
func TestLoad(t *testing.T) {
	ca := agenttest.NewAuthority(t)
	cert, _ := ca.Issue("one")
	_, key := ca.Issue("other")
	for _, paths := range [][2]string{{cert, key}, {cert, cert}, {key, key}, {cert, key + "x"}, {"/nowhere", key}} {
		if _, err := keypair.Load(paths[0], paths[1], nil); err == nil || !strings.Contains(err.Error(), paths[0]) || !strings.Contains(err.Error(), paths[1]) {
			t.Errorf("%v: got %v", paths, err)
		}
	}
}
