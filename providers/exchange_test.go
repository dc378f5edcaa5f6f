package providers

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ssg-safe/agent/redact"
)

func post(t *testing.T, ctx context.Context, transport http.RoundTripper, url string) (Answer, error) { // t first, as in every helper
	t.Helper()
	h := HTTP{Provider: "p", Transport: transport}
	return h.Do(ctx, Call{Op: "create", Method: http.MethodPost, URL: url, Body: []byte(`{"a":1}`)})
}

func wantKind(t *testing.T, err error, want Kind) *Error {
	t.Helper()
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("got %T (%v), want *Error", err, err)
	}
	if e.Kind != want {
		t.Fatalf("got kind %v (%v), want %v", e.Kind, err, want)
	}
	return e
}

func newTransport(t *testing.T) *http.Transport {
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// TestPhases: what cannot have arrived is NotSent, whatever else fails is
// Ambiguous, over real sockets.
func TestPhases(t *testing.T) {
	read := make(chan struct{}, 10)
	silent := make(chan struct{})
	handler := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // whatever came
		read <- struct{}{}
		if r.URL.Path == "/never" {
			select {
			case <-silent:
			case <-r.Context().Done():
			}
		}
		panic(http.ErrAbortHandler)
	})
	plain := httptest.NewServer(handler)
	defer plain.Close()
	secure := httptest.NewUnstartedServer(handler)
	secure.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	secure.StartTLS()
	defer secure.Close()
	two := httptest.NewUnstartedServer(handler)
	two.EnableHTTP2 = true
	two.StartTLS()
	defer two.Close()
	defer close(silent)

	t.Run("refused", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		_, err = post(t, t.Context(), newTransport(t), "http://"+l.Addr().String())
		wantKind(t, err, NotSent)
		if !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("got %v, want an error that is ECONNREFUSED", err)
		}
	})
	t.Run("no such name", func(t *testing.T) {
		tr := newTransport(t)
		tr.DialContext = func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.DNSError{Err: "no such host", Name: "x", IsNotFound: true}
		}
		_, err := post(t, t.Context(), tr, "http://x")
		wantKind(t, err, NotSent)
	})
	t.Run("untrusted certificate", func(t *testing.T) {
		_, err := post(t, t.Context(), newTransport(t), secure.URL)
		wantKind(t, err, NotSent)
	})
	t.Run("cancelled while connecting", func(t *testing.T) {
		tr := newTransport(t)
		dialing := make(chan struct{})
		tr.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			close(dialing)
			<-ctx.Done()
			return nil, ctx.Err()
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-dialing; cancel() }()
		_, err := post(t, ctx, tr, "http://x")
		wantKind(t, err, NotSent)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want an error that is context.Canceled", err)
		}
	})
	t.Run("read then closed", func(t *testing.T) {
		_, err := post(t, t.Context(), newTransport(t), plain.URL)
		wantKind(t, err, Ambiguous)
		<-read
	})
	t.Run("never answered", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-read; cancel() }()
		_, err := post(t, ctx, newTransport(t), plain.URL+"/never")
		wantKind(t, err, Ambiguous)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want an error that is context.Canceled", err)
		}
	})
	t.Run("HTTP/2 stream reset", func(t *testing.T) {
		_, err := post(t, t.Context(), two.Client().Transport, two.URL)
		wantKind(t, err, Ambiguous)
		<-read
	})
	t.Run("transport without trace", func(t *testing.T) {
		_, err := post(t, t.Context(), roundTripper(func(*http.Request) (*http.Response, error) {
			return nil, errors.New("broken")
		}), "http://x")
		wantKind(t, err, Ambiguous)
	})
	t.Run("connection lost while writing", func(t *testing.T) {
		tr := newTransport(t)
		tr.DialContext = func(context.Context, string, string) (net.Conn, error) {
			client, server := net.Pipe()
			go func() {
				server.Read(make([]byte, 10)) // a part of the header, then gone
				server.Close()                // cannot fail
			}()
			return client, nil
		}
		_, err := post(t, t.Context(), tr, "http://x")
		wantKind(t, err, Ambiguous)
	})
}

// TestNotRepeated: package net/http repeats a GET by itself when a connection
// that was used before breaks; a call is one request.
func TestNotRepeated(t *testing.T) {
	var requests atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if requests.Add(1) > 1 {
			panic(http.ErrAbortHandler)
		}
		if r.ContentLength != 0 || len(r.TransferEncoding) > 0 {
			t.Errorf("a GET with a body: %d %v", r.ContentLength, r.TransferEncoding)
		}
	}))
	defer server.Close()
	h := &HTTP{Provider: "test", Transport: newTransport(t)}
	call := Call{Op: "status", Method: http.MethodGet, URL: server.URL}
	if _, err := h.Do(t.Context(), call); err != nil {
		t.Fatal(err)
	}
	_, err := h.Do(t.Context(), call)
	wantKind(t, err, Ambiguous)
	if n := requests.Load(); n != 2 {
		t.Errorf("%d requests for two calls", n)
	}
}

// TestSwitchedProtocols: after a 101 net/http gives the connection away, and
// the context does not end its reads any more.
func TestSwitchedProtocols(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // whatever came
		c, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n") // the client may have gone
		io.Copy(io.Discard, c)                                                                             // until the client hangs up
	}))
	defer server.Close()
	_, err := post(t, t.Context(), NewTransport(nil), server.URL)
	if e := wantKind(t, err, Contract); e.HTTP != http.StatusSwitchingProtocols {
		t.Errorf("got %v, want one of HTTP 101", e)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestNewTransport: HTTP/1 to a server that offers HTTP/2, no old TLS, and the
// clock that it is given.
func TestNewTransport(t *testing.T) {
	serve := func(change func(*tls.Config)) (*httptest.Server, *http.Transport) {
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, r.Proto) // the client may have gone
		}))
		server.EnableHTTP2 = true
		server.TLS = &tls.Config{}
		change(server.TLS)
		server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
		server.StartTLS()
		t.Cleanup(server.Close)
		tr := NewTransport(nil)
		tr.TLSClientConfig.RootCAs = x509.NewCertPool()
		tr.TLSClientConfig.RootCAs.AddCert(server.Certificate())
		t.Cleanup(tr.CloseIdleConnections)
		return server, tr
	}
	server, tr := serve(func(*tls.Config) {})
	a, err := post(t, t.Context(), tr, server.URL)
	if err != nil || string(a.Body) != "HTTP/1.1" {
		t.Errorf("got %q (%v), want HTTP/1.1", a.Body, err)
	}
	server, tr = serve(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 })
	_, err = post(t, t.Context(), tr, server.URL)
	wantKind(t, err, NotSent)
	// Its certificate is not valid yet, by the clock that was given.
	server, tr = serve(func(*tls.Config) {})
	own := tr.TLSClientConfig
	tr = NewTransport(func() time.Time { return time.Unix(-1, 0) })
	t.Cleanup(tr.CloseIdleConnections)
	tr.TLSClientConfig.RootCAs = own.RootCAs
	_, err = post(t, t.Context(), tr, server.URL)
	wantKind(t, err, NotSent)
}

// TestNoSilentRepeat: a kept connection that dies under a second request must
// not make net/http send it again.
func TestNoSilentRepeat(t *testing.T) {
	var requests atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // whatever came
		if requests.Add(1) > 1 {
			panic(http.ErrAbortHandler)
		}
		io.WriteString(w, "{}") // the client may have gone
	}))
	defer server.Close()
	tr := newTransport(t)
	if _, err := post(t, t.Context(), tr, server.URL); err != nil {
		t.Fatal(err)
	}
	_, err := post(t, t.Context(), tr, server.URL)
	wantKind(t, err, Ambiguous)
	if n := requests.Load(); n != 2 {
		t.Errorf("the server saw %d requests, want 2", n)
	}
}

func TestDo(t *testing.T) {
	var got *http.Request
	server := Memory(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r
		w.WriteHeader(http.StatusTeapot)
		io.WriteString(w, "exact bytes") // in memory
	}))
	h := HTTP{Provider: "p", Transport: server, UserAgent: "kiosk"}
	a, err := h.Do(t.Context(), Call{Op: "x", Method: http.MethodPost, URL: "http://h/p", Header: http.Header{"x-one": {"1"}}})
	if err != nil {
		t.Fatal(err)
	}
	if a.Status != http.StatusTeapot || string(a.Body) != "exact bytes" ||
		a.Digest != "e38e581aade78b64cc86f7ac9f3555ca78c2dcca747942a7f1d9b3275a834f75" {
		t.Errorf("got %+v", a)
	}
	for name, want := range map[string]string{
		"User-Agent": "kiosk", "Accept": "application/json", "X-One": "1", "Accept-Encoding": "identity",
	} {
		if v := got.Header.Get(name); v != want {
			t.Errorf("header %s: got %q, want %q", name, v, want)
		}
	}
	_, err = h.Do(t.Context(), Call{Op: "x", Method: "BAD METHOD", URL: "http://h"})
	wantKind(t, err, Invalid)
}

func TestLogHoldsNoBody(t *testing.T) {
	var log bytes.Buffer
	h := HTTP{
		Provider: "p", Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Transport: Memory(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "answer-canary") })), // in memory
	}
	if _, err := h.Do(t.Context(), Call{Op: "x", Method: http.MethodPost, URL: "http://h/?q=url-canary", Body: []byte("body-canary")}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "op=x") || strings.Contains(log.String(), "canary") {
		t.Errorf("got log %q, want the operation and nothing of request or answer", &log)
	}
}

// TestPrinted: calls and answers hold credentials, tokens and payers' data, and
// print none of it, whatever the verb or handler.
func TestPrinted(t *testing.T) {
	call := Call{
		Op: "create", Method: http.MethodPost, URL: "https://h/?canary", Header: http.Header{"Authorization": {"Bearer canary"}},
		Body: []byte("canary"), Hide: Hide("canary"),
	}
	answer := Answer{Status: 201, Header: http.Header{"X-Token": {"canary"}}, Body: []byte("canary")}
	for _, tt := range []struct {
		v    any
		want string
	}{
		{call, "create"},
		{&call, "create"},
		{struct{ C Call }{call}, "create"},
		{answer, "201"},
		{&answer, "201"},
		{struct{ A Answer }{answer}, "201"},
	} {
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("m", "v", tt.v)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "v", tt.v)
		// Bytes print as numbers, as hexadecimal digits, or as text.
		for _, text := range []string{fmt.Sprintf("%v %+v %#v %s %q", tt.v, tt.v, tt.v, tt.v, tt.v), fmt.Sprintf("%x", tt.v), log.String()} {
			for _, canary := range []string{"canary", fmt.Sprint([]byte("canary")), fmt.Sprintf("%x", "canary"), "0x63, 0x61", "Y2FuYXJ5"} {
				if strings.Contains(text, canary) {
					t.Errorf("%T prints its content: %s", tt.v, text)
				}
			}
			if !strings.Contains(text, tt.want) {
				t.Errorf("%T: got %q, want %q in it", tt.v, text, tt.want)
			}
		}
	}
}

func TestKindOfStatus(t *testing.T) {
	for status, want := range map[int]Kind{
		200: Contract, 204: Contract, 302: Contract, 400: Invalid, 401: Auth, 402: Operator, 403: Forbidden, 404: NotFound,
		405: Invalid, 408: Ambiguous, 409: Conflict, 410: NotFound, 422: Invalid, 423: Operator, 429: Rate,
		500: Ambiguous, 502: Ambiguous, 503: Ambiguous, 504: Ambiguous, 599: Ambiguous,
	} {
		if got := KindOfStatus(status); got != want {
			t.Errorf("status %d: got %v, want %v", status, got, want)
		}
	}
}

func TestKinds(t *testing.T) {
	seen := map[string]bool{}
	for k := Invalid; k <= Security; k++ {
		name := k.String()
		if name == "" || seen[name] {
			t.Errorf("kind %d has name %q, want one of its own", k, name)
		}
		seen[name] = true
		if k.Permanent() && k.OutcomeUnknown() {
			t.Errorf("%v is permanent and of unknown outcome", k)
		}
	}
	for _, k := range []Kind{Ambiguous, Contract, Security} {
		if !k.OutcomeUnknown() {
			t.Errorf("the outcome of %v is known", k)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		after, date string
		want        time.Duration
	}{
		{"", "", 0},
		{"7", "", 7 * time.Second},
		{" 7 ", "", 7 * time.Second},
		{"0", "", 0},
		{"-7", "", 0},
		{"7.5", "", 0},
		{"601", "", MaxRetryAfter},
		{"99999999999999999999", "", 0},
		{"9223372036854775807", "", MaxRetryAfter},
		{"Thu, 01 Jan 2026 12:00:30 GMT", "", 30 * time.Second},
		{"Thu, 01 Jan 2026 11:59:30 GMT", "", 0},
		{"Fri, 02 Jan 2026 12:00:30 GMT", "", MaxRetryAfter},
		// The provider's clock counts where it is stated, not ours.
		{"Thu, 01 Jan 2020 12:00:30 GMT", "Thu, 01 Jan 2020 12:00:00 GMT", 30 * time.Second},
		{"soon", "", 0},
	} {
		h := http.Header{"Retry-After": {tt.after}, "Date": {tt.date}}
		if got := RetryAfter(h, now); got != tt.want {
			t.Errorf("Retry-After %q, Date %q: got %v, want %v", tt.after, tt.date, got, tt.want)
		}
	}
	if got := RetryAfter(nil, now); got != 0 {
		t.Errorf("no header: got %v, want 0", got)
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, s := range []string{"7", "-1", "99999999999999999999", "Thu, 01 Jan 2026 12:00:30 GMT", "Thu, 01 Jan 0000 00:00:00 GMT"} {
		f.Add(s, "Thu, 01 Jan 2026 12:00:00 GMT")
	}
	f.Fuzz(func(t *testing.T, after, date string) {
		got := RetryAfter(http.Header{"Retry-After": {after}, "Date": {date}}, time.Now())
		if got < 0 || got > MaxRetryAfter {
			t.Errorf("got %v", got)
		}
	})
}

func TestDecodeJSON(t *testing.T) {
	type data struct {
		A any `json:"a"`
	}
	for _, tt := range []struct {
		body string
		ok   bool
	}{
		{`{"a":1}`, true},
		{` {"a":{"b":[{"c":1},{"c":2}]},"z":null} `, true},
		{`{"a":12345678901234567890.00}`, true},
		{``, false},
		{`null`, false},
		{`[]`, false},
		{`"a"`, false},
		{`{"a":1`, false},
		{`{"a":1}}`, false},
		{`{"a":1}{"a":2}`, false},
		{`{"a":1} x`, false},
		{`{"a":1,"a":2}`, false},
		{`{"a":1,"A":2}`, false},
		{`{"z":{"s":"PENDENTE","S":"PAGO"}}`, false},
		{`{"z":{"s":"PENDENTE","ſ":"PAGO"}}`, false}, // encoding/json takes a long s for an s
		{`{"k":1,"K":2}`, false},                     // and a kelvin sign for a k
		{`{"z":[{"s":1,"s":1}]}`, false},
		{`{"a":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, false},
		{"{\"a\":\"\xff\"}", false},
		{`<!DOCTYPE html>`, false},
	} {
		var d data
		if err := DecodeJSON([]byte(tt.body), &d); (err == nil) != tt.ok {
			t.Errorf("%.60s: got %v, want success: %v", tt.body, err, tt.ok)
		}
	}
	var d data
	if err := DecodeJSON([]byte(`{"a":12345678901234567890.00}`), &d); err != nil || fmt.Sprint(d.A) != "12345678901234567890.00" {
		t.Errorf("got %v (%v), want the number as it is written", d.A, err)
	}
}

func FuzzDecodeJSON(f *testing.F) {
	for _, s := range []string{`{"a":1}`, `{"a":{"b":[{"c":1}]}}`, `{"a":1,"A":2}`, `{"a":1}{}`, `{`, `{"a":[`, `[]`, "\xff"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var first, second map[string]any
		if err := DecodeJSON(body, &first); err != nil {
			return
		}
		if len(first) == 0 && bytes.ContainsAny(body, ":") {
			t.Errorf("fields of %q are lost", body)
		}
		if err := DecodeJSON(body, &second); err != nil || fmt.Sprint(first) != fmt.Sprint(second) {
			t.Errorf("two readings differ: %v, %v (%v)", first, second, err)
		}
	})
}

func TestFail(t *testing.T) {
	h := HTTP{Provider: "p"}
	call := Call{Op: "create", Hide: Hide("s3cr3t-value").WithPayer(Payer{Name: "Zulmira Quaresma", Document: "12345678909"})}
	e := h.Fail(call, Rate, Answer{Status: 429, Header: http.Header{"Retry-After": {"9"}}},
		"E-s3cr3t-VALUE", "quaresma 123.456.789-09 said S3CR3T-value", fmt.Errorf("wrapped 12345678909: %w", io.ErrUnexpectedEOF))
	want := `p create: rate (HTTP 429) code E-[hidden]: [hidden] [digits] said [hidden]: wrapped [hidden]: unexpected EOF`
	if e.Error() != want {
		t.Errorf("got  %q\nwant %q", e.Error(), want)
	}
	if !errors.Is(e, io.ErrUnexpectedEOF) || e.RetryAfter != 9*time.Second {
		t.Errorf("got retry after %v of %v, want 9s of an error that is io.ErrUnexpectedEOF", e.RetryAfter, e)
	}
	outer := h.Fail(call, NotSent, Answer{}, "", "no token", e)
	if inner, ok := errors.AsType[*Error](outer.Err); !ok || inner != e {
		t.Errorf("got cause %v, want the inner error itself", outer.Err)
	}
}

func TestClean(t *testing.T) {
	hide := Hide("tok.en+1").WithSecret("").WithSecret("\x00").WithPayer(Payer{
		Name: "Ana Souza", Address: "Rua das Flores 12", Email: redact.Email("ana@x.example"),
	})
	for _, tt := range []struct{ text, want string }{
		{"", ""},
		{"plain  text", "plain  text"},
		{"a\nb\tc\x1b[31m\u202e", "a b c [31m"},
		{"bad \xff byte", "bad ? byte"},
		{"TOK.EN+1 tokxen+1", "[hidden] tokxen+1"},
		{"for ANA SOUZA, of rua das flores 12", "for [hidden], of [hidden]"},
		{"Flores Ana, souza12", "[hidden] Ana, [hidden]12"},
		{"cpf 123.456.789-09, cnpj 12.345.678/0001-95", "cpf [digits], cnpj [digits]"},
		{"cnpj 12ABC34501DE35 or 12.ABC.345/01DE-35", "cnpj [document] or [document]"},
		{"charge dd71da9f-5885-4ba1-8212-93654c4c2931", "charge dd71da9f-5885-4ba1-8212-93654c4c2931"},
		{"no uuid 12345678-1234-1234-1234-1234567890", "no uuid [digits]"},
		{"phone +55 (11) 99999-0000", "phone +[digits]"},
		{"code 13123, R$ 10,00, 2026-01-01", "code 13123, R$ 10,00, 2026-01-01"},
		{"mail <someone@host.example>!", "mail <[personal]>!"},
		{"tok " + strings.Repeat("xY9.", 10), "tok [long]"},
		{strings.Repeat("á ", 150), strings.Repeat("á ", 100) + "…"},
	} {
		if got := hide.Clean(tt.text); got != tt.want {
			t.Errorf("%q:\ngot  %q\nwant %q", tt.text, got, tt.want)
		}
	}
}

func FuzzClean(f *testing.F) {
	f.Add("the token is abc-123-def!", "abc-123-def")
	f.Add("ABC-123-DEF", "abc-123-def")
	f.Add("12345678909\x00secret word", "word")
	f.Fuzz(func(t *testing.T, text, value string) {
		got := Hide(redact.Secret(value)).Clean(text)
		if n := len([]rune(got)); n > maxDetail+1 {
			t.Errorf("got %d characters", n)
		}
		if strings.ContainsFunc(got, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			t.Errorf("got control characters in %q", got)
		}
		for _, own := range []string{"[hidden]", "[personal]", "[digits]", "[document]", "[long]", "…", "?"} {
			for i := range len(own) {
				if value == "" || strings.ContainsAny(value, "[]…? ") || strings.Contains(own[i:], value) || strings.Contains(value, own) {
					return // what we write ourselves may spell it
				}
			}
		}
		if v := printable(value); v == value && strings.Contains(got, value) {
			t.Errorf("%q is still in %q", value, got)
		}
	})
}

func TestFieldError(t *testing.T) {
	e := &FieldError{Field: "payer.state", Problem: "not two letters", Remedy: "write it like SP"}
	if got, want := e.Error(), "payer.state: not two letters; write it like SP"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
