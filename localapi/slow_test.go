package localapi_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	_ "github.com/ssg-safe/agent/internal/bubbles"
	"github.com/ssg-safe/agent/localapi"
)

// pipes is a listener whose connections are pipes of the test.
type pipes struct {
	accept chan net.Conn
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.accept:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// slowRig is a rig in a bubble, so that time passes when everybody waits.
func slowRig(t *testing.T, f func(r *rig, dial func(request string) net.Conn)) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigWithout(t)
		p := &pipes{make(chan net.Conn), make(chan struct{})}
		o := r.options()
		o.Hosts = []string{"pipe"}
		r.server = localapi.New(o)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- r.server.Serve(ctx, p) }()
		f(r, func(request string) net.Conn {
			client, server := net.Pipe()
			p.accept <- server
			if _, err := io.WriteString(client, request); err != nil {
				t.Fatal(err)
			}
			return client
		})
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

const asReader = "Host: pipe\r\nAuthorization: Bearer " + tokenRead + "\r\n"

// TestSlowRequests: who does not finish is cut off, and told where it can be.
func TestSlowRequests(t *testing.T) {
	slowRig(t, func(r *rig, dial func(string) net.Conn) {
		began := time.Now()
		headers := dial("GET /v1/status HTTP/1.1\r\nHost: pi")
		if raw, _ := io.ReadAll(headers); len(raw) > 0 && !strings.Contains(string(raw), "408") {
			t.Errorf("slow headers: %q", raw)
		}
		if took := time.Since(began); took > 6*time.Second {
			t.Errorf("slow headers were waited for %v", took)
		}
		began = time.Now()
		body := dial("POST /v1/charges HTTP/1.1\r\nHost: pipe\r\nAuthorization: Bearer " + tokenAll +
			"\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"reference\":")
		raw, _ := io.ReadAll(body)
		if !strings.Contains(string(raw), "HTTP/1.1 408") || !strings.Contains(string(raw), "too_slow") {
			t.Errorf("slow body: %q", raw)
		}
		if took := time.Since(began); took > 11*time.Second {
			t.Errorf("a slow body was waited for %v", took)
		}
		began = time.Now()
		idle := dial("GET /v1/metrics HTTP/1.1\r\n" + asReader + "\r\n")
		_, _ = io.ReadAll(idle)
		if took := time.Since(began); took > 61*time.Second {
			t.Errorf("an idle connection was kept for %v", took)
		}
	})
}

// TestStreamsOutliveRequests: a stream stands for as long as its client reads,
// with a sign of life, and no longer.
func TestStreamsOutliveRequests(t *testing.T) {
	slowRig(t, func(r *rig, dial func(string) net.Conn) {
		conn := dial("GET /v1/events HTTP/1.1\r\n" + asReader + "\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		s := &stream{T: t, in: bufio.NewReader(resp.Body)}
		s.next()
		began := time.Now()
		for pings := 0; pings < 10; {
			line, err := s.in.ReadString('\n')
			if err != nil {
				t.Fatalf("after %v: %v", time.Since(began), err)
			}
			if line == ":\n" {
				pings++
			}
		}
		if took := time.Since(began); took < 2*time.Minute || took > 3*time.Minute {
			t.Errorf("ten signs of life in %v", took)
		}
		r.put(1, one)
		if e := s.next(); e.id != "1:1" {
			t.Errorf("after a while: %+v", e)
		}
		// From here on nobody reads.
		time.Sleep(2 * time.Minute)
		if raw, err := io.ReadAll(s.in); err == nil {
			t.Errorf("the stream of a client that does not read ended in order: %q", raw)
		}
		conn.Close()
	})
}
