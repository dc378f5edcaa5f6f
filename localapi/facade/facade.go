// Package facade serves the three calls of the SSG PIX middleware, so that safes
// which speak SSG can point at this terminal, whichever provider its merchants
// have. It is an adapter like package localapi: a request becomes a call of the
// [localapi.Desk], and nothing here decides about money.
//
//	POST /oauth/token           client credentials for a token
//	POST /api/generate-qrcode   a charge; the answer waits for its code
//	POST /api/qrcode/status     PENDENTE, PAGO or EXPIRADO
//
// The bodies are those of the middleware's document, the rules what it means: two
// decimals after a dot where its expression takes anything, documents with right
// check digits, the merchant's own key and account. docs/facade.md is for who
// connects a safe.
//
// # What differs on purpose
//
// PATCH /api/pix/{id}, by which any holder of a token marks a charge paid, is
// refused: only a provider's answer, or the hub's signed word, does that here.
//
// A client reads its own charges only. Its tokens are signed with its secret and
// kept nowhere: a restart logs nobody out, there is nothing to steal, and another
// secret ends them all.
//
// # What SSG does not promise
//
// Nothing is idempotent: the same request again is another charge. Where the code
// is not there in time, or the caller has hung up, the charge is cancelled, for
// nobody has seen its code.
package facade

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/ssg-safe/agent/localapi"
	"github.com/ssg-safe/agent/redact"
)

const (
	maxBody = 16 << 10
	// startWithin is how long the terminal may take to record a charge, codeWithin
	// how long the provider's code may take: callers give up after 25 seconds.
	startWithin = 10 * time.Second
	codeWithin  = 20 * time.Second
	lookEvery   = time.Second

	clientBurst, strangerBurst = 40, 10
	clientEvery, strangerEvery = 50 * time.Millisecond, 500 * time.Millisecond
)

// Client is one safe, or one program that speaks for several.
type Client struct {
	// Name stands in the ledger as the source of its charges ("facade:NAME").
	Name   string
	ID     string // client_id
	Secret redact.Secret
	// Account is the account_id that it must send, a UUID; Merchant is whose
	// charges it makes, and Key that merchant's PIX key, which it must send as well.
	Account, Merchant, Key string
	// Present says whether its charges use the terminal's screen and printer.
	Present localapi.Presence
}

// Options of a server. All but Logger are needed.
type Options struct {
	Desk    localapi.Desk
	Clients []Client
	// TokenLife is how long a token holds.
	TokenLife time.Duration
	// Zone is that of data_expiracao, which has none.
	Zone *time.Location
	// Now is the wall clock.
	Now func() time.Time
	// Woken returns a channel that is closed when the ledger has new entries.
	Woken func() <-chan struct{}
	// Logger; nil discards.
	Logger *slog.Logger
}

// Server answers requests. It is an http.Handler, safe for concurrent use.
type Server struct {
	Options
	clients  []*client
	stranger *localapi.Bucket
}

type client struct {
	Client
	budget *localapi.Bucket
}

func (c *client) source() string { return "facade:" + c.Name }

// New returns a server that answers once it is served.
func New(o Options) *Server {
	s := &Server{Options: o, stranger: localapi.NewBucket(strangerBurst, strangerEvery)}
	if s.Logger == nil {
		s.Logger = slog.New(slog.DiscardHandler)
	}
	for _, c := range o.Clients {
		s.clients = append(s.clients, &client{c, localapi.NewBucket(clientBurst, clientEvery)})
	}
	return s
}

// Serve answers on a listener, which it closes, until ctx ends.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	return localapi.Serve(ctx, l, s, s.Logger)
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler {
				panic(p)
			}
			s.Logger.Error("panic in a request", "path", r.URL.Path, "panic", p)
			s.write(w, &failure{status: http.StatusInternalServerError, code: codeInternal, text: textInternal})
		}
	}()
	status, body, err := s.operate(w, r)
	if f, ok := errors.AsType[*failure](err); ok {
		s.write(w, f)
		return
	}
	if err != nil {
		s.Logger.Error("request", "path", r.URL.Path, "err", err)
		s.write(w, &failure{status: http.StatusInternalServerError, code: codeInternal, text: textInternal})
		return
	}
	respond(w, status, body)
}

const (
	pathToken    = "/oauth/token"
	pathGenerate = "/api/generate-qrcode"
	pathStatus   = "/api/qrcode/status"
	pathPix      = "/api/pix/"
)

func (s *Server) operate(w http.ResponseWriter, r *http.Request) (status int, body any, err error) {
	// The document's own sample calls //oauth/token.
	path := "/" + strings.TrimLeft(r.URL.Path, "/")
	switch {
	case path == pathToken && r.Method == http.MethodPost:
		body, err = s.token(w, r)
		return http.StatusOK, body, err
	case path != pathToken && path != pathGenerate && path != pathStatus && !strings.HasPrefix(path, pathPix):
		return 0, nil, &failure{status: http.StatusNotFound, code: codePath, text: textPath}
	case path != pathToken:
		c, err := s.authenticate(r)
		switch {
		case err != nil:
			return 0, nil, err
		case strings.HasPrefix(path, pathPix):
			return 0, nil, &failure{status: http.StatusForbidden, code: codePatch, text: textPatch}
		case r.Method != http.MethodPost:
		case path == pathGenerate:
			body, err = s.generate(w, r, c)
			return http.StatusCreated, body, err
		default:
			body, err = s.status(w, r, c)
			return http.StatusOK, body, err
		}
	}
	w.Header().Set("Allow", http.MethodPost)
	return 0, nil, &failure{status: http.StatusMethodNotAllowed, text: textMethod}
}

// token sells a token for the credentials.
func (s *Server) token(w http.ResponseWriter, r *http.Request) (any, error) {
	in, err := s.fields(w, r)
	if err != nil {
		return nil, err
	}
	for _, c := range s.clients {
		id := subtle.ConstantTimeCompare([]byte(in["client_id"]), []byte(c.ID))
		given, want := sha256.Sum256([]byte(in["client_secret"])), sha256.Sum256([]byte(c.Secret.Reveal()))
		if id&subtle.ConstantTimeCompare(given[:], want[:]) != 1 {
			continue
		}
		switch {
		case !c.budget.Spend(time.Now()):
			return nil, &failure{status: http.StatusTooManyRequests, text: textRate}
		case in["grant_type"] != "client_credentials":
			return nil, &failure{status: http.StatusBadRequest, oauth: "unsupported_grant_type", text: textGrant}
		}
		return struct {
			Type    string `json:"token_type"`
			Expires int64  `json:"expires_in"`
			Token   string `json:"access_token"`
		}{"Bearer", int64(s.TokenLife / time.Second), c.newToken(s.Now().Add(s.TokenLife))}, nil
	}
	if !s.stranger.Spend(time.Now()) {
		return nil, &failure{status: http.StatusTooManyRequests, text: textRate}
	}
	return nil, &failure{status: http.StatusUnauthorized, oauth: "invalid_client", text: textClient}
}

// A token is when it ends (Unix seconds), 16 random bytes, and a MAC over both and
// the client's id by a key of its secret: base64url.
const tokenHead = 8 + 16

func (c *client) newToken(until time.Time) string {
	head := make([]byte, tokenHead)
	binary.BigEndian.PutUint64(head, uint64(max(until.Unix(), 0)))
	rand.Read(head[8:]) // never fails
	return base64.RawURLEncoding.EncodeToString(append(head, c.sign(head)...))
}

func (c *client) sign(head []byte) []byte {
	key := hmac.New(sha256.New, []byte(c.Secret.Reveal()))
	key.Write([]byte("ssg-agent facade token")) // a hash never fails
	m := hmac.New(sha256.New, key.Sum(nil))
	m.Write(head)
	m.Write([]byte(c.ID))
	return m.Sum(nil)
}

// authenticate finds the client whose token it is, and whose time is not over.
func (s *Server) authenticate(r *http.Request) (*client, error) {
	scheme, text, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err == nil && strings.EqualFold(scheme, "Bearer") && len(raw) == tokenHead+sha256.Size && len(r.Header.Values("Authorization")) == 1 {
		head, mac := raw[:tokenHead], raw[tokenHead:]
		for _, c := range s.clients {
			if !hmac.Equal(mac, c.sign(head)) {
				continue
			}
			if !s.Now().Before(time.Unix(int64(binary.BigEndian.Uint64(head)&(1<<62-1)), 0)) {
				break
			}
			if !c.budget.Spend(time.Now()) {
				return nil, &failure{status: http.StatusTooManyRequests, text: textRate}
			}
			return c, nil
		}
	}
	if !s.stranger.Spend(time.Now()) {
		return nil, &failure{status: http.StatusTooManyRequests, text: textRate}
	}
	return nil, &failure{status: http.StatusUnauthorized, text: textUnauthenticated}
}

// fields reads a body: one JSON object whose values are texts.
func (s *Server) fields(w http.ResponseWriter, r *http.Request) (map[string]string, error) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" || r.Header.Get("Content-Encoding") != "" {
		return nil, &failure{status: http.StatusUnsupportedMediaType, text: textJSON}
	}
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return nil, &failure{status: http.StatusRequestEntityTooLarge, text: textLarge}
	}
	if err != nil {
		return nil, &failure{status: http.StatusBadRequest, text: textCut}
	}
	in, err := decode(raw)
	if err != nil {
		return nil, &failure{status: http.StatusBadRequest, text: textJSON}
	}
	return in, nil
}

// failure is an answer that is none, in the form that the middleware has for its
// status.
type failure struct {
	status int
	code   int64  // codigo_erro
	oauth  string // error of a token request
	text   text
	fields map[string][]string // what is wrong with a body
}

// Error implements error.
func (f *failure) Error() string { return f.text.pt }

func (s *Server) write(w http.ResponseWriter, f *failure) {
	body := map[string]any{"message": f.text.String()}
	switch {
	case f.oauth != "":
		body["error"], body["error_description"] = f.oauth, f.text.String()
	case f.fields != nil:
		body["errors"] = f.fields
	case f.code != 0:
		body = map[string]any{"codigo_erro": f.code, "mensagem": f.text.String()}
	}
	switch f.status {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "2")
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	respond(w, f.status, body)
}

// respond answers with JSON, whatever the caller says that it accepts.
func respond(w http.ResponseWriter, status int, body any) {
	raw, err := json.Marshal(body)
	if err != nil {
		panic(err) // of our own types: cannot be
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(append(raw, '\n')) // the caller is gone
}
