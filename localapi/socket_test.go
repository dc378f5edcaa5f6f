package localapi_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/ssg-safe/agent/localapi"
)

// serve serves a server on a listener until the test ends, or stop is called.
func (r *rig) serve(s *localapi.Server, l net.Listener) (stop func()) {
	r.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l); close(ended) }()
	stop = func() {
		cancel()
		if err := <-ended; err != nil {
			r.Errorf("server: %v", err)
		}
	}
	r.Cleanup(stop)
	return stop
}

// status asks for it by a transport, with a token.
func status(t *testing.T, transport *http.Transport, url, host, token string) (int, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", url+"/v1/status", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

// TestSockets: what each is opened with, who may, and that a name that a killed
// process left behind is taken over, but no other.
func TestSockets(t *testing.T) {
	r := newRigWithout(t)
	deep := filepath.Join(t.TempDir(), strings.Repeat("d", 100)) // longer than the kernel takes
	if err := os.Mkdir(deep, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{t.TempDir(), deep} {
		for name, kind := range map[string]struct {
			mode   os.FileMode
			token  string // that is needed
			listen func() (net.Listener, error)
		}{
			"api.sock":             {0o660, tokenRead, func() (net.Listener, error) { return localapi.Listen("unix:"+filepath.Join(dir, "api.sock"), nil) }},
			localapi.ControlSocket: {0o600, "", func() (net.Listener, error) { return localapi.ListenControl(dir) }},
		} {
			path := filepath.Join(dir, name)
			o := r.options()
			o.Hosts, o.Control = []string{"localhost"}, kind.token == ""
			l, err := kind.listen()
			if err != nil {
				t.Fatal(err)
			}
			stop := r.serve(localapi.New(o), l)
			info, err := os.Lstat(path)
			if err != nil || info.Mode().Perm() != kind.mode || info.Mode().Type() != fs.ModeSocket {
				t.Errorf("%s: %v, %v; want mode %o", path, info, err, kind.mode)
			}
			by := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				// By the open directory: the path may be too long.
				d, err := os.Open(dir)
				if err != nil {
					return nil, err
				}
				defer d.Close()
				return new(net.Dialer).DialContext(ctx, "unix", "/proc/self/fd/"+strconv.FormatUint(uint64(d.Fd()), 10)+"/"+name)
			}}
			if code, err := status(t, by, "http://localhost", "localhost", kind.token); code != 200 || err != nil {
				t.Errorf("%s: %d, %v", name, code, err)
			}
			if code, err := status(t, by, "http://localhost", "evil.example", kind.token); code != http.StatusMisdirectedRequest || err != nil {
				t.Errorf("%s called evil.example: %d, %v", name, code, err)
			}
			if kind.token != "" {
				if code, err := status(t, by, "http://localhost", "localhost", ""); code != 401 || err != nil {
					t.Errorf("%s without a token: %d, %v", name, code, err)
				}
			}
			if _, err := kind.listen(); err == nil || !strings.Contains(err.Error(), "another process answers") {
				t.Errorf("a second server on %s: %v", name, err)
			}
			stop()
			if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s after its end: %v", name, err)
			}

			left, err := kind.listen() // of a process that is killed: nobody accepts
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(path, path+".old"); err != nil {
				t.Fatal(err)
			}
			left.Close()
			if err := os.Rename(path+".old", path); err != nil {
				t.Fatal(err)
			}
			again, err := kind.listen()
			if err != nil {
				t.Errorf("over a socket that was left behind: %v", err)
			} else {
				again.Close()
			}
			if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := kind.listen(); err == nil {
				t.Errorf("%s took the place of a file", name)
			}
			if raw, err := os.ReadFile(path); err != nil || string(raw) != "mine" {
				t.Errorf("the file in its place: %q, %v", raw, err)
			}
		}
	}
}

// TestTLS: who trusts the certificate is answered; plain HTTP is not.
func TestTLS(t *testing.T) {
	r := newRigWithout(t)
	lender := httptest.NewTLSServer(nil) // of a certificate for 127.0.0.1
	defer lender.Close()
	l, err := localapi.Listen("127.0.0.1:0", &tls.Config{Certificates: lender.TLS.Certificates, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	o := r.options()
	o.Hosts = []string{addr}
	r.serve(localapi.New(o), l)
	trusting := lender.Client().Transport.(*http.Transport)
	if code, err := status(t, trusting, "https://"+addr, addr, tokenRead); code != 200 || err != nil {
		t.Errorf("by TLS: %d, %v", code, err)
	}
	trusting.CloseIdleConnections()
	if code, err := status(t, &http.Transport{DisableKeepAlives: true}, "http://"+addr, addr, tokenRead); code == 200 {
		t.Errorf("without TLS: %d, %v", code, err)
	}
	if _, err := status(t, &http.Transport{DisableKeepAlives: true}, "https://"+addr, addr, tokenRead); err == nil {
		t.Error("a certificate of nobody that is known was trusted")
	}
	old := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{
		RootCAs: trusting.TLSClientConfig.RootCAs, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11,
	}}
	if _, err := status(t, old, "https://"+addr, addr, tokenRead); err == nil {
		t.Error("TLS 1.1 was spoken")
	}
}
