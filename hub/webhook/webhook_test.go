package webhook

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/hub"
	"github.com/ssg-safe/agent/hub/bolt"
	"github.com/ssg-safe/agent/internal/agenttest"
	_ "github.com/ssg-safe/agent/internal/bubbles"
	"github.com/ssg-safe/agent/redact"
)

const path = "AAAAAAAAAAAAAAAAAAAAAAAAAA"

// signed accepts bodies that begin with "signed ", and calls the rest the event.
func signed(r Request) ([]hub.Webhook, error) {
	name, ok := strings.CutPrefix(string(r.Body), "signed ")
	switch {
	case !ok:
		return nil, ErrForged
	case name == "old":
		return nil, fmt.Errorf("%w: by an hour", ErrStale)
	case name == "test":
		return nil, ErrSandbox
	}
	return []hub.Webhook{{Kind: "paid", Known: true, Key: name, Names: []string{name}, Digest: "d"}}, nil
}

type still struct{}

func (still) Run(ctx context.Context, _ func(string, []byte, func())) error {
	<-ctx.Done()
	return nil
}
func (still) Send(string, []byte) error { return nil }

// newServer has a hub that runs on a store of its own, until the test ends.
func newServer(t *testing.T, o Options, as func(hub.Store) hub.Store) (*Server, *bolt.Store) {
	t.Helper()
	st, err := bolt.Open(bolt.Options{Path: filepath.Join(t.TempDir(), "hub.db")})
	if err != nil {
		t.Fatal(err)
	}
	signer, err := wire.NewSigner(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	if as == nil {
		as = func(s hub.Store) hub.Store { return s }
	}
	if o.Hub, err = hub.New(hub.Options{Store: as(st), Signer: signer}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- o.Hub.Run(ctx, still{}) }()
	t.Cleanup(func() {
		stop()
		<-ended // a test may have broken the store
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	if o.Sources == nil {
		o.Sources = []Source{{Name: "psp", Path: path, Read: signed}}
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s, st
}

func (s *Server) post(method, target, body string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for _, c := range change {
		c(r)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

func recorded(t *testing.T, st hub.Store) (names []string) {
	t.Helper()
	err := st.View(t.Context(), func(tx hub.Tx) error {
		list, err := hub.Webhooks(tx, 1000)
		for _, r := range list {
			names = append(names, r.Names...)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// Whatever is wrong, the answer is the same, and nothing is kept.
func TestRefusals(t *testing.T) {
	s, st := newServer(t, Options{}, nil)
	for name, test := range map[string]struct {
		method, target, body string
		why                  Refusal
		source               string
	}{
		"no path":        {"POST", "/", "signed a", Path, "-"},
		"another path":   {"POST", "/BAAAAAAAAAAAAAAAAAAAAAAAAA", "signed a", Path, "-"},
		"longer path":    {"POST", "/" + path + "A", "signed a", Path, "-"},
		"below another":  {"POST", "/x/" + path, "signed a", Path, "-"},
		"GET":            {"GET", "/" + path, "signed a", Method, "psp"},
		"PUT":            {"PUT", "/" + path + "/pix", "signed a", Method, "psp"},
		"not signed":     {"POST", "/" + path, "a", Signature, "psp"},
		"empty":          {"POST", "/" + path, "", Signature, "psp"},
		"old":            {"POST", "/" + path, "signed old", Stale, "psp"},
		"long":           {"POST", "/" + path, "signed " + strings.Repeat("a", MaxBody), Body, "psp"},
		"long, no path":  {"POST", "/x", strings.Repeat("a", MaxBody+1), Body, "-"},
		"almost too big": {"POST", "/" + path, strings.Repeat("a", MaxBody), Signature, "psp"},
	} {
		t.Run(name, func(t *testing.T) {
			w := s.post(test.method, test.target, test.body)
			if w.Code != http.StatusForbidden || w.Body.Len() > 0 {
				t.Errorf("answered %d %q", w.Code, w.Body)
			}
			for key := range w.Header() {
				if key != "Connection" { // of a body that was not read to its end
					t.Errorf("answered with %s", key)
				}
			}
			for _, c := range s.Stats() {
				if c.Source == test.source && (c.Refused[test.why] == 0 || c.LastReason != test.why) {
					t.Errorf("counted %+v, want one more of %s", c, test.why)
				}
			}
		})
	}
	if got := recorded(t, st); len(got) > 0 {
		t.Errorf("recorded %q", got)
	}
}

func TestReceives(t *testing.T) {
	s, st := newServer(t, Options{}, nil)
	for _, target := range []string{"/" + path, "/" + path + "/", "/" + path + "/pix", "/" + path + "/0123456789abcdef0123456789abcdef"} {
		if w := s.post("POST", target, "signed a"); w.Code != http.StatusOK || w.Body.Len() > 0 {
			t.Errorf("%s: answered %d %q", target, w.Code, w.Body)
		}
	}
	if w := s.post("POST", "/"+path, "signed test"); w.Code != http.StatusOK {
		t.Errorf("a test event: answered %d", w.Code)
	}
	if got := recorded(t, st); len(got) != 1 || got[0] != "a" {
		t.Errorf("recorded %q, want it once", got)
	}
	c := s.Stats()[1]
	if c.Source != "psp" || c.New != 1 || c.Known != 3 || c.Sandbox != 1 || c.Last.IsZero() || c.Refused != nil {
		t.Errorf("counted %+v", c)
	}
}

// gated is a store whose updates wait until gate is closed.
type gated struct {
	hub.Store
	gate, waits chan struct{}
	fails       error
}

func (g gated) Update(ctx context.Context, fn func(hub.Tx) error) error {
	g.waits <- struct{}{}
	<-g.gate
	if g.fails != nil {
		return g.fails
	}
	return g.Store.Update(ctx, fn)
}

// The answer waits for the commit, and a commit that fails is no 2xx: the
// provider sends it again.
func TestAnswersAfterTheCommit(t *testing.T) {
	for _, fails := range []error{nil, hub.ErrOutcomeUnknown} {
		synctest.Test(t, func(t *testing.T) {
			g := gated{gate: make(chan struct{}), waits: make(chan struct{}, 1), fails: fails}
			s, st := newServer(t, Options{}, func(st hub.Store) hub.Store {
				g.Store = st
				return g
			})
			answers := make(chan int, 1)
			go func() { answers <- s.post("POST", "/"+path, "signed a").Code }()
			<-g.waits
			synctest.Wait()
			select {
			case code := <-answers:
				t.Errorf("answered %d before the commit", code)
			default:
			}
			close(g.gate)
			want, kept := http.StatusOK, 1
			if fails != nil {
				want, kept = http.StatusServiceUnavailable, 0
			}
			if code := <-answers; code != want {
				t.Errorf("answered %d, want %d", code, want)
			}
			if got := recorded(t, st); len(got) != kept {
				t.Errorf("recorded %q", got)
			}
		})
	}
}

func TestRates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newServer(t, Options{Rate: 1, Burst: 3, Proxied: true}, nil)
		from := func(addr string) func(*http.Request) {
			return func(r *http.Request) { r.Header["X-Forwarded-For"] = []string{"9.9.9.9", "1.2.3.4, " + addr} }
		}
		codes := func(addr string, n int) (list []int) {
			for range n {
				list = append(list, s.post("POST", "/"+path, "x", from(addr)).Code)
			}
			return list
		}
		if got := fmt.Sprint(codes("192.0.2.1", 5)); got != "[403 403 403 429 429]" {
			t.Errorf("answered %s", got)
		}
		if got := s.post("POST", "/", "x", from("192.0.2.1")).Header().Get("Retry-After"); got != "1" && got != "2" {
			t.Errorf("Retry-After %q", got)
		}
		if got := fmt.Sprint(codes("2001:db8::1", 2), codes("2001:db8::2", 2), codes("2001:db8:0:1::", 1)); got != "[403 403] [403 429] [403]" {
			t.Errorf("one network of IPv6: answered %s", got)
		}
		time.Sleep(2 * time.Second)
		if got := fmt.Sprint(codes("192.0.2.1", 3)); got != "[403 403 429]" {
			t.Errorf("two seconds later: answered %s", got)
		}
	})
}

// A source that verifies nothing is paced for all addresses together, by events, and
// keeps nobody from the others.
func TestOpenSources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		many := func(r Request) (list []hub.Webhook, err error) {
			for i := range 500 {
				key := fmt.Sprintf("%s-%d", r.Body, i)
				list = append(list, hub.Webhook{Kind: "pix", Known: true, Key: key, Names: []string{key}, Digest: "d"})
			}
			return list, nil
		}
		other := strings.Repeat("B", 26)
		s, _ := newServer(t, Options{Proxied: true, Sources: []Source{{Name: "bank", Path: path, Open: true, Read: many}, {Name: "psp", Path: redact.Secret(other), Read: signed}}}, nil)
		n := 0
		flood := func(requests int) (taken int) {
			for range requests {
				n++
				from := func(r *http.Request) { r.Header.Set("X-Forwarded-For", fmt.Sprintf("10.1.%d.%d", n/250, n%250)) }
				switch w := s.post("POST", "/"+path, fmt.Sprint("body", n), from); w.Code {
				case http.StatusOK:
					taken++
				case http.StatusTooManyRequests:
					if w.Header().Get("Retry-After") == "" {
						t.Error("no Retry-After")
					}
				default:
					t.Errorf("answered %d", w.Code)
				}
			}
			return taken
		}
		if got := flood(300); got != openBurst/500 {
			t.Errorf("%d bodies of 500 events are taken at once, want %d", got, openBurst/500)
		}
		if w := s.post("POST", "/"+other, "signed one"); w.Code != http.StatusOK {
			t.Errorf("the other source answers %d", w.Code)
		}
		// What is refused uses up nothing: a bank that tries again gets in when there is
		// room for all that it brings.
		for range 3 {
			time.Sleep(30 * time.Second)
			if got := flood(1); got != 0 {
				t.Error("500 events get in where there is room for 150 a half minute")
			}
		}
		time.Sleep(10 * time.Second)
		if got := flood(1); got != 1 {
			t.Error("there is room for 500, and they are refused")
		}
		time.Sleep(time.Hour)
		if got := flood(300); got != openBurst/500 {
			t.Errorf("%d bodies are taken an hour later, want %d", got, openBurst/500)
		}
		if stats := s.Stats()[1]; stats.Refused[Rate] != 603-2*openBurst/500 || stats.New != 2*openBurst+500 {
			t.Errorf("counted %+v", stats)
		}
	})
}

// Whatever comes, the path, which alone keeps strangers away from some sources, is in no
// line of the log, however much that tells.
func TestPathIsSecret(t *testing.T) {
	var log lockedLog
	o := Options{Rate: 1, Burst: 12, Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	o.Sources = []Source{{Name: "psp", Path: path, Read: func(r Request) ([]hub.Webhook, error) {
		if string(r.Body) == "panic" {
			panic("as a reader must not")
		}
		return signed(r)
	}}}
	s, _ := newServer(t, o, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l) }()
	codes := map[int]bool{}
	for _, request := range []struct{ method, target, body string }{
		{"POST", "/" + path, "signed one"},
		{"POST", "/" + path + "/pix", "signed two"},
		{"POST", "/" + path, "forged"},
		{"POST", "/" + path, "signed old"},
		{"POST", "/" + path, "signed test"},
		{"GET", "/" + path, ""},
		{"POST", "/" + path, "panic"},
		{"POST", "/" + path + "?a;b=%zz", "forged"},
		{"POST", "/" + path, strings.Repeat("x", MaxBody+1)},
		{"POST", "/" + path + "x", "signed one"},
		{"POST", "/" + path, "signed one"},
		{"POST", "/" + path, "signed one"},
		{"POST", "/" + path, "signed one"},
		{"POST", "/" + path, "signed one"},
	} {
		req, err := http.NewRequest(request.method, "http://"+l.Addr().String()+request.target, strings.NewReader(request.body))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := http.DefaultClient.Do(req)
		if err == nil {
			codes[answer.StatusCode] = true
			answer.Body.Close()
		}
	}
	// What is no request.
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "POST /%s HTTP/9\r\nHost: %s\r\n\r\n", path, path)
	_, _ = io.Copy(io.Discard, conn)
	conn.Close()
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if !codes[200] || !codes[403] || !codes[429] {
		t.Errorf("answered %v", codes)
	}
	text := log.String()
	if strings.Contains(text, path) {
		t.Errorf("the log has the path:\n%s", text)
	}
	if !strings.Contains(text, "source=psp") || !strings.Contains(text, "panic") {
		t.Errorf("the log does not say what happened:\n%s", text)
	}
}

// lockedLog is written by many.
type lockedLog struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lockedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Many addresses cost no more memory than a bound.
func TestLimiterIsBounded(t *testing.T) {
	l := newLimiter(1, 1)
	now := time.Unix(0, 0)
	for i := range 2 * maxCallers {
		l.take(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 32), 1, now)
	}
	if len(l.tat) > maxCallers+1 {
		t.Errorf("%d callers are remembered", len(l.tat))
	}
	if l.take(netip.MustParsePrefix("192.0.2.1/32"), 1, now) == 0 {
		t.Error("a caller too many is let in as if there were room")
	}
	if l.take(netip.MustParsePrefix("192.0.2.1/32"), 1, now.Add(time.Hour)) != 0 {
		t.Error("those that left are not forgotten")
	}
}

// A bank comes with a certificate of its own; who has none, or another's, is
// refused as everything is.
func TestClientCertificates(t *testing.T) {
	ours, strangers, banks := agenttest.NewAuthority(t), agenttest.NewAuthority(t), agenttest.NewAuthority(t)
	s, st := newServer(t, Options{
		TLS: &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{ours.Pair("hub")}},
		Sources: []Source{
			{Name: "bank", Path: path, Read: signed, Callers: banks.Pool},
			{Name: "psp", Path: "B" + path, Read: signed},
		},
	}, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	for name, test := range map[string]struct {
		target string
		certs  []tls.Certificate
		want   int
	}{
		"bank":           {path + "/pix", []tls.Certificate{banks.Pair("bank")}, 200},
		"nobody":         {path, nil, 403},
		"stranger":       {path, []tls.Certificate{strangers.Pair("bank")}, 403},
		"psp needs none": {"B" + path, nil, 200},
	} {
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ours.Pool, Certificates: test.certs, ServerName: "localhost"}}
		resp, err := (&http.Client{Transport: transport}).Post("https://"+l.Addr().String()+"/"+test.target, "application/json", strings.NewReader("signed "+name))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		transport.CloseIdleConnections()
		if resp.StatusCode != test.want {
			t.Errorf("%s: answered %d, want %d", name, resp.StatusCode, test.want)
		}
	}
	if got := recorded(t, st); len(got) != 2 {
		t.Errorf("recorded %q", got)
	}
}

func TestOptions(t *testing.T) {
	read := signed
	for name, sources := range map[string][]Source{
		"short path":  {{Name: "a", Path: "short", Read: read}},
		"odd path":    {{Name: "a", Path: redact.Secret("/" + path), Read: read}},
		"same path":   {{Name: "a", Path: path, Read: read}, {Name: "b", Path: path, Read: read}},
		"same name":   {{Name: "a", Path: path, Read: read}, {Name: "a", Path: "B" + path, Read: read}},
		"nobody":      {{Name: "-", Path: path, Read: read}},
		"no name":     {{Path: path, Read: read}},
		"a long path": {{Name: "a", Path: redact.Secret(strings.Repeat("a", 129)), Read: read}},
	} {
		if _, err := New(Options{Sources: sources}); err == nil || strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzRequests(f *testing.F) {
	f.Add("POST", "/"+path, "signed a", "1.2.3.4")
	f.Add("POST", "/"+path+"/pix", "", "::1%eth0, x")
	f.Add("GET", "//", "signed test", "")
	f.Fuzz(func(t *testing.T, method, target, body, forwarded string) {
		r, err := http.NewRequest(method, "http://hub"+target, strings.NewReader(body))
		if err != nil {
			return
		}
		r.Header.Set("X-Forwarded-For", forwarded)
		verified := false
		s, err := New(Options{Proxied: true, Rate: 1000, Burst: 1000, Sources: []Source{{Name: "psp", Path: path, Read: func(Request) ([]hub.Webhook, error) {
			verified = true
			return nil, errors.New("no")
		}}}})
		if err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != http.StatusForbidden || w.Body.Len() > 0 {
			t.Errorf("answered %d %q", w.Code, w.Body)
		}
		if verified && (method != "POST" || !strings.HasPrefix(r.URL.Path, "/"+path)) {
			t.Errorf("%s %s was verified", method, r.URL.Path)
		}
	})
}
