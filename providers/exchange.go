package providers

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	// MaxBody is the most an answer may weigh, in bytes; a larger one is a
	// Contract error.
	MaxBody = 1 << 20
	// MaxRetryAfter caps a provider's wish to be left alone.
	MaxRetryAfter = 10 * time.Minute
	// DefaultUserAgent is sent when the configuration names none. Providers may
	// hold allow-lists of agents, so it never carries a version.
	DefaultUserAgent = "ssg-agent"
)

// NewTransport returns a transport for real providers: 8 s to connect and as
// long for the TLS handshake, TLS 1.2 or newer, small headers, the system's
// proxy. It speaks HTTP/1 only, where "not sent" can be told to the end (see
// [HTTP.Do]); one terminal has no use for streams. Certificates are held against
// now, for a board without a battery starts in 1970; nil: the system's clock.
func NewTransport(now func() time.Time) *http.Transport {
	const connect = 8 * time.Second
	protocols := &http.Protocols{}
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy:       http.ProxyFromEnvironment,
		DialContext: (&net.Dialer{Timeout: connect}).DialContext, TLSHandshakeTimeout: connect,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, Time: now}, Protocols: protocols,
		MaxResponseHeaderBytes: 64 << 10, IdleConnTimeout: time.Minute, MaxIdleConnsPerHost: 2,
	}
}

// HTTP performs the exchanges of one adapter: one call is one request, never
// repeated and never redirected, with a bounded answer and a classified error.
// It is safe for concurrent use; time limits come from the contexts.
type HTTP struct {
	Provider  string // adapter name, for errors and logs
	Transport http.RoundTripper
	UserAgent string       // empty: DefaultUserAgent
	Log       *slog.Logger // nil: discard
}

// Call is one request. It prints as its operation alone: all else may hold
// credentials and payers' data.
type Call struct {
	Op     string // "create", "status", "token"
	Method string
	URL    string
	Header http.Header // may be nil; Accept is application/json unless given
	Body   []byte
	Use    Use
	// Hide lists the credentials and personal data in this call, which must
	// never come back in an error's text.
	Hide Hidden
}

// Answer is what came back, whole. It prints as status and size: a body may
// hold a token or a payable code.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
	// Digest is the SHA-256 of Body, lower-case hex.
	Digest string
}

// Format prints the operation for every verb.
func (c Call) Format(f fmt.State, _ rune) { io.WriteString(f, c.Op) } // fmt.State never fails

// MarshalText is for logs, JSON included.
func (c Call) MarshalText() ([]byte, error) { return []byte(c.Op), nil }

// Format prints status and size for every verb.
func (a Answer) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "HTTP %d, %d bytes", a.Status, len(a.Body))
}

// MarshalText is for logs, JSON included.
func (a Answer) MarshalText() ([]byte, error) { return fmt.Append(nil, a), nil }

// Do makes the exchange. Any complete answer is returned whatever its status
// (classify refusals with [HTTP.Refused]), except a redirect or a switch of
// protocols, a content coding nobody asked for, and a body above [MaxBody],
// which are Contract errors.
//
// The error is always an [*Error]. Its Kind is NotSent only when the transport
// reported its progress (package httptrace) and the request's headers were
// never written; over HTTP/2, where writing cannot be observed before it
// happens, NotSent ends when a connection was found. In doubt it is Ambiguous.
func (h *HTTP) Do(ctx context.Context, c Call) (Answer, error) {
	started := time.Now()
	a, err := h.do(ctx, c)
	log := h.logger().With("provider", h.Provider, "op", c.Op, "took", time.Since(started))
	if e, ok := errors.AsType[*Error](err); ok {
		log.Debug("provider exchange failed", "kind", e.Kind.String(), "http_status", e.HTTP, "err", e)
		return Answer{}, err
	}
	log.Debug("provider exchange", "http_status", a.Status, "bytes", len(a.Body))
	return a, nil
}

func (h *HTTP) do(ctx context.Context, c Call) (Answer, error) {
	if err := ctx.Err(); err != nil {
		return Answer{}, h.Fail(c, NotSent, Answer{}, "", "", err)
	}
	var p phase
	ctx = withUse(ctx, c.Use)
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, p.trace()), c.Method, c.URL, bytes.NewReader(c.Body))
	if err != nil {
		return Answer{}, h.Fail(c, Invalid, Answer{}, "", "request cannot be built", err)
	}
	if len(c.Body) == 0 {
		// Without a body a GET is one that net/http repeats by itself when the
		// connection breaks.
		req.Body, req.GetBody = io.NopCloser(bytes.NewReader(nil)), nil
	}
	for name, values := range c.Header {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	if req.Header.Get("Accept") == "" {
		req.Header.Set("Accept", "application/json")
	}
	agent := h.UserAgent
	if agent == "" {
		agent = DefaultUserAgent
	}
	req.Header.Set("User-Agent", agent)
	// The digest is over the bytes the provider wrote, so nothing may recode them.
	req.Header.Set("Accept-Encoding", "identity")

	resp, err := h.Transport.RoundTrip(req)
	if held, ok := errors.AsType[*Held](err); ok {
		return Answer{}, held.failure(h, c)
	}
	if err != nil {
		kind := Ambiguous
		if p.nothingSent() {
			kind = NotSent
		}
		return Answer{}, h.Fail(c, kind, Answer{}, "", "", err)
	}
	defer resp.Body.Close() // the answer has been read, or the exchange failed
	a := Answer{Status: resp.StatusCode, Header: resp.Header}
	if a.Status < 200 {
		// After a 101 the connection is the caller's, and no context ends a read.
		return Answer{}, h.Fail(c, Contract, a, "", "protocol switch refused", nil)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, MaxBody+1))
	switch {
	case err != nil:
		return Answer{}, h.Fail(c, Ambiguous, a, "", "answer cut off", err)
	case len(body) > MaxBody:
		return Answer{}, h.Fail(c, Contract, a, "", fmt.Sprintf("answer larger than %d bytes", MaxBody), nil)
	case a.Status >= 300 && a.Status < 400:
		return Answer{}, h.Fail(c, Contract, a, "", "redirect refused", nil)
	}
	if coding := resp.Header.Get("Content-Encoding"); coding != "" && coding != "identity" {
		return Answer{}, h.Fail(c, Contract, a, "", "content coding "+coding+" was not asked for", nil)
	}
	digest := sha256.Sum256(body)
	a.Body, a.Digest = body, hex.EncodeToString(digest[:])
	return a, nil
}

// Fail builds the error of a call. Code, detail and the cause's text are
// cleaned of everything in c.Hide and of what looks like personal data, and
// bounded. The cause still answers errors.Is. Rate and Unavailable errors take
// RetryAfter from the answer.
func (h *HTTP) Fail(c Call, kind Kind, a Answer, code, detail string, cause error) *Error {
	e := &Error{
		Provider: h.Provider, Op: c.Op, Kind: kind, HTTP: a.Status,
		Code: bound(c.Hide.replace(printable(code)), 64), Detail: c.Hide.Clean(detail),
	}
	if kind == Rate || kind == Unavailable {
		e.RetryAfter = RetryAfter(a.Header, time.Now())
	}
	if cause != nil {
		if inner, ok := cause.(*Error); ok { // already clean
			e.Err = inner
		} else {
			e.Err = &cleaned{text: c.Hide.Clean(cause.Error()), cause: cause}
		}
	}
	return e
}

// Refused builds the error of an answer whose status is not a success, by
// [KindOfStatus].
func (h *HTTP) Refused(c Call, a Answer, code, detail string) *Error {
	return h.Fail(c, KindOfStatus(a.Status), a, code, detail, nil)
}

func (h *HTTP) logger() *slog.Logger {
	if h.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return h.Log
}

// KindOfStatus classifies an unsuccessful HTTP status by its general meaning;
// adapters look at the provider's own error codes first. A 5xx is Ambiguous:
// a server that failed may have failed after it did the work. An unexpected
// success or redirect is Contract.
func KindOfStatus(status int) Kind {
	switch status {
	case http.StatusUnauthorized:
		return Auth
	case http.StatusForbidden:
		return Forbidden
	case http.StatusNotFound, http.StatusGone:
		return NotFound
	case http.StatusConflict:
		return Conflict
	case http.StatusLocked, http.StatusPaymentRequired:
		return Operator
	case http.StatusTooManyRequests:
		return Rate
	case http.StatusRequestTimeout:
		return Ambiguous
	}
	switch {
	case status >= 500:
		return Ambiguous
	case status >= 400:
		return Invalid
	}
	return Contract
}

// RetryAfter reads the header of that name, in seconds or as an HTTP date. A
// date is measured against the answer's own Date where there is one, since a
// terminal's clock may be wrong, else against now. The result lies between 0
// (absent, unreadable, past) and [MaxRetryAfter].
func RetryAfter(header http.Header, now time.Time) time.Duration {
	text := strings.TrimSpace(header.Get("Retry-After"))
	if text == "" {
		return 0
	}
	if seconds, err := strconv.ParseUint(text, 10, 64); err == nil {
		if seconds > uint64(MaxRetryAfter/time.Second) {
			return MaxRetryAfter
		}
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	if date, err := http.ParseTime(header.Get("Date")); err == nil {
		now = date
	}
	return min(max(at.Sub(now), 0), MaxRetryAfter)
}

// DecodeJSON decodes one JSON object that came from a provider. Numbers decode
// as json.Number where the target says so, fields the target does not know
// are ignored (providers add some), but the text must be UTF-8, hold one
// object and nothing after it, and never state a field twice, not even in
// another case: two readers could then see two different answers.
func DecodeJSON(body []byte, into any) error {
	if !utf8.Valid(body) {
		return errors.New("not UTF-8")
	}
	if err := checkObject(body); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	return d.Decode(into)
}

func checkObject(body []byte) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	first, err := d.Token()
	if err != nil {
		return err
	}
	if first != json.Delim('{') {
		return errors.New("not a JSON object")
	}
	type level struct {
		object, value bool // value: the next token of an object is a value
		names         map[string]bool
	}
	stack := []level{{object: true, names: map[string]bool{}}}
	for len(stack) > 0 {
		t, err := d.Token()
		if errors.Is(err, io.EOF) {
			return io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
		top := &stack[len(stack)-1]
		delim, isDelim := t.(json.Delim)
		switch {
		case isDelim && (delim == '}' || delim == ']'):
			stack = stack[:len(stack)-1]
			continue
		case top.object && !top.value:
			name := folded(t.(string))
			if top.names[name] {
				return errors.New("a field is stated twice")
			}
			top.names[name], top.value = true, true
			continue
		}
		top.value = false
		if isDelim {
			if len(stack) == 64 {
				return errors.New("nested too deeply")
			}
			stack = append(stack, level{object: delim == '{', names: map[string]bool{}})
		}
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the object")
	}
	return nil
}

// folded is a name as package json compares it to those of a struct: a long s
// is an s there.
func folded(name string) string {
	return strings.Map(func(r rune) rune {
		for {
			next := unicode.SimpleFold(r)
			if next <= r {
				return next // the least of all that fold together
			}
			r = next
		}
	}, name)
}

// Describe says what kind of answer came back, for a Contract error's detail,
// without quoting it.
func Describe(a Answer) string {
	kind, _, err := mime.ParseMediaType(a.Header.Get("Content-Type"))
	if err != nil {
		kind = "of no stated type"
	}
	return fmt.Sprintf("%d bytes %s", len(a.Body), kind)
}

// phase learns from the transport how far a request got.
type phase struct{ begun, sent atomic.Bool }

func (p *phase) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		GetConn: func(string) { p.begun.Store(true) },
		GotConn: func(info httptrace.GotConnInfo) {
			if c, ok := info.Conn.(*tls.Conn); ok && c.ConnectionState().NegotiatedProtocol == "h2" {
				p.sent.Store(true)
			}
		},
		// Over HTTP/1 this comes before the write buffer is flushed, and the
		// connection is closed before RoundTrip returns an error.
		WroteHeaders: func() { p.sent.Store(true) },
	}
}

// nothingSent is true only on evidence: a transport that reports nothing may
// have sent everything.
func (p *phase) nothingSent() bool { return p.begun.Load() && !p.sent.Load() }

// cleaned is a cause whose text was cleaned; errors.Is still sees the original.
type cleaned struct {
	text  string
	cause error
}

func (c *cleaned) Error() string        { return c.text }
func (c *cleaned) Is(target error) bool { return errors.Is(c.cause, target) }
