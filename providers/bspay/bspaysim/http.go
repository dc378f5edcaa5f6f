package bspaysim

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/providers/simkit"
)

// work is what a route does with a request and its body.
type work func(r *http.Request, body []byte, f simkit.Faults) simkit.Answer

func (s *Sim) routes() {
	s.mux = http.NewServeMux()
	serve := func(pattern, route string, do work, guards ...func(*http.Request, []byte) (int, string)) {
		s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			s.Serve(route, w, r, func(f simkit.Faults) simkit.Answer {
				body, err := io.ReadAll(io.LimitReader(r.Body, 64<<20))
				if err != nil {
					return refuse(http.StatusBadRequest, "INVALID_PAYLOAD")
				}
				a := s.admit(r, body, f, do, guards)
				if f.Has(Skew) {
					d, _ := time.ParseDuration(f[Skew])
					a.Header.Set("Date", time.Now().Add(d).UTC().Format(http.TimeFormat))
				}
				return a
			})
		})
	}
	serve("POST /v2/oauth/token", RouteToken, s.token)
	serve("POST /v2/transactions/cashin", RouteCreate, s.cashin, s.bearer)
	serve("POST /v2/transactions/cashout", RouteCashout, s.cashout, s.bearer, s.signed)
	serve("POST /v2/account/transactions/list", RouteStatus, s.list, s.bearer)
	for _, path := range []string{"balance", "limits", "fees", "info/profile"} {
		serve("GET /v2/account/"+path, RouteAccount, s.account, s.bearer)
	}
	serve("POST /v2/transactions/wallet", RouteOrders, s.wallet, s.bearer)
	serve("POST /v2/internal_transfers/payment", RouteOrders, s.transfer, s.bearer, s.signed)
	serve("POST /v2/conversions/rate", RouteOrders, s.quote, s.bearer)
	serve("POST /v2/conversions/simulate", RouteOrders, s.quote, s.bearer)
	serve("POST /v2/conversions/new", RouteOrders, s.convert, s.bearer, s.signed)
	serve("GET /v2/account/infractions", RouteInfractions, s.listInfractions, s.bearer)
	serve("GET /v2/account/infractions/detail", RouteInfractions, s.infraction, s.bearer)
	serve("POST /v2/account/infractions/reply", RouteInfractions, s.reply, s.bearer)

	s.Control(s.mux, s)
	simkit.Show(s.mux, "/sim/state", func() any { return s.State() })
	simkit.Show(s.mux, "/sim/payouts", func() any { return s.Payouts() })
	s.ShowWebhooks(s.mux, s.events)
	simkit.Act(s.mux, "POST /sim/charges/{id}/refund", func(r *http.Request) error { return s.Refund(r.PathValue("id")) })
	simkit.Act(s.mux, "POST /sim/charges/{id}/dispute", func(r *http.Request) error {
		_, err := s.Dispute(r.PathValue("id"))
		return err
	})
	simkit.Act(s.mux, "POST /sim/tokens/revoke", func(*http.Request) error { return s.RevokeTokens() })
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.Missing(w, r, refuse(http.StatusNotFound, "NOT_FOUND"))
	})
}

// ServeHTTP serves the provider's API and the control routes.
func (s *Sim) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

func (s *Sim) admit(r *http.Request, body []byte, f simkit.Faults, do work, guards []func(*http.Request, []byte) (int, string)) simkit.Answer {
	if arg, ok := f[Refuse]; ok {
		status, code, _ := strings.Cut(arg, ":")
		n, err := strconv.Atoi(status)
		if err != nil || n < 200 || n > 599 {
			n = http.StatusUnprocessableEntity
		}
		return refuse(n, code)
	}
	for _, guard := range guards {
		if status, code := guard(r, body); status != 0 {
			return refuse(status, code)
		}
	}
	return do(r, body, f)
}

// gate is what stands before the API. Nothing of it is kept over a restart.
type gate struct {
	mu       sync.Mutex
	logins   []time.Time // of the last minute
	failures int         // in a row
	blocked  time.Time   // until
	nonces   map[string]time.Time
}

// Limits of the gate.
const (
	loginsPerMinute = 30
	failuresToBlock = 5
	blockedFor      = time.Minute
	window          = 300 * time.Second
)

func (s *Sim) bearer(r *http.Request, _ []byte) (int, string) {
	if r.Header.Get("Authorization") == "" {
		return http.StatusUnauthorized, "MISSING_AUTH_HEADER"
	}
	if !s.authorised(r) {
		return http.StatusUnauthorized, "TOKEN_EXPIRED"
	}
	return 0, ""
}

var nonceForm = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

// signed checks the signature headers: present, in the window, right over the
// bytes that came in, and the nonce new.
func (s *Sim) signed(r *http.Request, body []byte) (int, string) {
	timestamp, nonce, given := r.Header.Get("X-Timestamp"), r.Header.Get("X-Nonce"), r.Header.Get("X-Signature")
	switch {
	case given == "":
		return http.StatusUnauthorized, "MISSING_SIGNATURE"
	case timestamp == "":
		return http.StatusUnauthorized, "MISSING_TIMESTAMP"
	case nonce == "":
		return http.StatusUnauthorized, "MISSING_NONCE"
	case !nonceForm.MatchString(nonce):
		return http.StatusBadRequest, "INVALID_NONCE"
	}
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	now := time.Now()
	if off := now.Unix() - seconds; err != nil || off > int64(window/time.Second) || off < -int64(window/time.Second) {
		return http.StatusUnauthorized, "INVALID_TIMESTAMP"
	}
	m := hmac.New(sha256.New, []byte(s.opts.SigningKey.Reveal()))
	m.Write([]byte(timestamp + "." + nonce + "." + string(body)))
	mac, err := hex.DecodeString(given)
	if err != nil || !hmac.Equal(mac, m.Sum(nil)) {
		return http.StatusUnauthorized, "INVALID_SIGNATURE"
	}
	s.gate.mu.Lock()
	defer s.gate.mu.Unlock()
	for old, at := range s.gate.nonces {
		if now.Sub(at) > window {
			delete(s.gate.nonces, old)
		}
	}
	if _, used := s.gate.nonces[nonce]; used {
		return http.StatusConflict, "REPLAY_DETECTED"
	}
	s.gate.nonces[nonce] = now
	return 0, ""
}

func (s *Sim) token(r *http.Request, body []byte, _ simkit.Faults) simkit.Answer {
	now := time.Now()
	s.gate.mu.Lock()
	defer s.gate.mu.Unlock()
	g := &s.gate
	for len(g.logins) > 0 && now.Sub(g.logins[0]) >= time.Minute {
		g.logins = g.logins[1:]
	}
	if now.Before(g.blocked) {
		return limited("IP_BLOCKED_TEMPORARILY", g.blocked.Sub(now))
	}
	if len(g.logins) >= loginsPerMinute && !s.opts.ManyLogins {
		return limited("RATE_LIMIT_EXCEEDED", time.Minute-now.Sub(g.logins[0]))
	}
	g.logins = append(g.logins, now)
	var in struct {
		GrantType string `json:"grant_type"`
	}
	if err := json.Unmarshal(body, &in); err != nil || in.GrantType != "client_credentials" {
		return simkit.JSON(http.StatusBadRequest, map[string]string{"error": "unsupported_grant_type", "error_description": "use client_credentials"})
	}
	id, secret, ok := r.BasicAuth()
	if !ok || !hmac.Equal([]byte(id), []byte(s.opts.ClientID)) || !hmac.Equal([]byte(secret), []byte(s.opts.ClientSecret.Reveal())) {
		if g.failures++; g.failures >= failuresToBlock {
			g.failures, g.blocked = 0, now.Add(blockedFor)
		}
		return simkit.JSON(http.StatusUnauthorized, map[string]string{"error": "invalid_client", "error_description": "client authentication failed"})
	}
	g.failures = 0
	token, err := s.newToken()
	if err != nil {
		return refuse(http.StatusInternalServerError, "INTERNAL_ERROR")
	}
	return simkit.JSON(http.StatusOK, map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": int(s.opts.TokenLife / time.Second)})
}

func limited(code string, after time.Duration) simkit.Answer {
	a := refuse(http.StatusTooManyRequests, code)
	a.Header.Set("Retry-After", strconv.Itoa(int((after+time.Second-1)/time.Second)))
	return a
}

// refusal is the provider's error body for an HTTP status alone.
func refusal(status int) simkit.Answer {
	codes := map[int]string{
		400: "INVALID_PAYLOAD", 401: "TOKEN_EXPIRED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 409: "INTERNAL_CONFLICT",
		422: "INVALID_AMOUNT", 423: "SECURITY_BLOCKED", 429: "RATE_LIMIT_EXCEEDED", 502: "PROVIDER_ERROR", 503: "SERVICE_UNAVAILABLE",
	}
	code, ok := codes[status]
	if !ok {
		code = "INTERNAL_ERROR"
	}
	return refuse(status, code)
}

func refuse(status int, code string) simkit.Answer {
	return simkit.JSON(status, map[string]any{
		"success": false, "request_id": "sim", "timestamp": time.Now().UTC(),
		"error": map[string]any{"code": code, "message": strings.ToLower(strings.ReplaceAll(code, "_", " ")), "group": "sim", "retryable": status == 429 || status >= 500},
	})
}

func done(status int, data any) simkit.Answer {
	return simkit.JSON(status, map[string]any{"success": true, "data": data, "request_id": "sim", "timestamp": time.Now().UTC()})
}

// fields is a request's body.
type fields map[string]any

func read(body []byte) (fields, bool) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var in fields
	return in, d.Decode(&in) == nil && in != nil
}

func (f fields) text(name string) string {
	s, _ := f[name].(string)
	return s
}

// number is a field that is a JSON number, as it was written.
func (f fields) number(name string) string {
	n, _ := f[name].(json.Number)
	return n.String()
}

func (f fields) integer(name string, otherwise, most int) int {
	n, err := strconv.Atoi(f.number(name))
	if err != nil || n < 1 {
		return otherwise
	}
	return min(n, most)
}

var currencies = map[string]bool{"BRL": true, "MXN": true, "USDT": true, "USDC": true, "BTC": true, "ETH": true, "SOL": true, "BNB": true}

// order reads what every order has. The status is 0 when it is right.
func (f fields) order() (t transaction, status int, code string) {
	t = transaction{ExternalID: f.text("external_id"), Amount: f.number("amount"), Currency: f.text("currency")}
	amount, err := money.Parse(t.Amount)
	switch {
	case t.ExternalID == "" || t.Amount == "" || t.Currency == "":
		return t, http.StatusBadRequest, "MISSING_REQUIRED_FIELD"
	case utf8.RuneCountInString(t.ExternalID) > 255:
		return t, http.StatusBadRequest, "INVALID_EXTERNAL_ID"
	case !currencies[t.Currency]:
		return t, http.StatusUnprocessableEntity, "UNSUPPORTED_CURRENCY"
	case t.Currency == "BRL" && (err != nil || amount <= 0):
		return t, http.StatusUnprocessableEntity, "INVALID_AMOUNT"
	case t.Currency != "BRL" && !positiveDecimal.MatchString(t.Amount):
		return t, http.StatusUnprocessableEntity, "INVALID_AMOUNT"
	}
	if t.Currency == "BRL" {
		t.Amount = amount.String()
	}
	return t, 0, ""
}

var positiveDecimal = regexp.MustCompile(`^(0|[1-9][0-9]*)(\.[0-9]+)?$`)

func (s *Sim) cashin(_ *http.Request, body []byte, f simkit.Faults) simkit.Answer {
	in, ok := read(body)
	if !ok {
		return refuse(http.StatusBadRequest, "INVALID_PAYLOAD")
	}
	t, status, code := in.order()
	if status != 0 {
		return refuse(status, code)
	}
	if t.Postback = in.text("postback_url"); t.Postback != "" && !public(t.Postback) {
		return refuse(http.StatusUnprocessableEntity, "INVALID_POSTBACK_URL")
	}
	t.Type = "cashin"
	return s.opened(t, http.StatusOK, f)
}

// public is what a resolver would say of an address, as far as its name tells.
func public(address string) bool {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || !strings.Contains(u.Hostname(), ".") {
		return false
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil {
		return !ip.IsPrivate() && !ip.IsLoopback() && !ip.IsLinkLocalUnicast() && !ip.IsUnspecified()
	}
	for _, none := range []string{".invalid", ".local", ".localhost", ".internal"} {
		if strings.HasSuffix(strings.ToLower(u.Hostname()), none) {
			return false
		}
	}
	return true
}

// opened makes a transaction and answers with it.
func (s *Sim) opened(t transaction, status int, f simkit.Faults) simkit.Answer {
	made, known, err := s.open(t)
	switch {
	case errors.Is(err, errFunds):
		return refuse(http.StatusUnprocessableEntity, "INSUFFICIENT_BALANCE")
	case err != nil:
		return refuse(http.StatusInternalServerError, "INTERNAL_ERROR")
	case known && (s.opts.Conflict || made.Type != t.Type):
		return refuse(http.StatusConflict, "DUPLICATE_EXTERNAL_ID")
	}
	row := s.row(&made, time.Now())
	if code := f[simkit.Code]; f.Has(simkit.Code) && made.Code != "" {
		row["payment_info"] = map[string]any{
			"qrcode": s.payee.Spoiled(code, location(made.ID), made.centavos(), ""), "expires_at": made.Expires,
		}
	}
	return done(status, row)
}

// row is a transaction as answers show it.
func (s *Sim) row(t *transaction, now time.Time) map[string]any {
	row := map[string]any{
		"transaction_id": t.ID, "external_id": t.ExternalID, "type": t.Type, "status": t.word(now),
		"amount": json.Number(t.Amount), "currency": t.Currency, "created_at": t.Created,
	}
	if t.Type == "cashin" {
		info := map[string]any{"expires_at": t.Expires}
		if t.Code != "" {
			info["qrcode"] = t.Code
		}
		row["payment_info"] = info
	}
	if word := t.word(now); t.Currency == "BRL" && (word == "confirmed" || word == "refunded") {
		row["e2e_id"] = endToEnd(t)
	}
	return row
}

// endToEnd is the id that a payment has in PIX: E, the payer's bank, minute, 11
// characters.
func endToEnd(t *transaction) string {
	return "E18236120" + t.Due.UTC().Format("200601021504") + strings.ReplaceAll(t.ID, "-", "")[:11]
}

func (s *Sim) list(_ *http.Request, body []byte, f simkit.Faults) simkit.Answer {
	in, ok := read(body)
	if !ok {
		return refuse(http.StatusBadRequest, "INVALID_PAYLOAD")
	}
	page, size := in.integer("page", 1, 1<<20), in.integer("page_size", 50, 100)
	var from, to time.Time
	for name, day := range map[string]*time.Time{"from_date": &from, "to_date": &to} {
		text := in.text(name)
		if text == "" {
			continue
		}
		var err error
		if *day, err = time.Parse(time.DateOnly, text); err != nil {
			return refuse(http.StatusUnprocessableEntity, "INVALID_DATE")
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	var found []*transaction
	for i := len(s.order) - 1; i >= 0; i-- { // newest first
		t := s.order[i]
		if !s.opts.IgnoreFilters {
			id, external := in.text("transaction_id"), in.text("external_id")
			if id != "" && t.ID != id || external != "" && t.ExternalID != external {
				continue
			}
		}
		kind, word, currency := in.text("type"), in.text("status"), in.text("currency")
		switch {
		case kind != "" && t.Type != kind, word != "" && t.word(now) != word, currency != "" && t.Currency != currency:
		case !from.IsZero() && t.Created.Before(from), !to.IsZero() && !t.Created.Before(to.AddDate(0, 0, 1)):
		default:
			found = append(found, t)
		}
	}
	start := (page - 1) * size
	if f.Has(Drift) { // as if one were made between any two pages
		start -= page - 1
	}
	items := []map[string]any{}
	for _, t := range found[min(start, len(found)):min(start+size, len(found))] {
		if t.ExternalID == in.text("external_id") { // it was asked for
			if err := s.look(t); err != nil {
				return refuse(http.StatusInternalServerError, "INTERNAL_ERROR")
			}
		}
		row := s.row(t, now)
		if s.opts.BareRows {
			delete(row, "payment_info")
		}
		if word, ok := f[simkit.Word]; ok {
			row["status"] = word
		}
		if f.Has(simkit.Echo) {
			row["transaction_id"] = "00000000-0000-4000-8000-000000000000"
		}
		items = append(items, row)
	}
	return done(http.StatusOK, map[string]any{"items": items, "page": page, "page_size": size, "total": len(found)})
}

// maxReplyFile is the most bytes that a file of a reply may have.
const maxReplyFile = 10 << 20

func (s *Sim) listInfractions(r *http.Request, _ []byte, _ simkit.Faults) simkit.Answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	in := fields{}
	for name, values := range r.URL.Query() {
		in[name] = json.Number(values[0])
	}
	page, size := in.integer("page", 1, 1<<20), in.integer("page_size", 50, 100)
	items := []map[string]any{}
	for _, i := range s.infractions {
		if status := r.URL.Query().Get("status"); status == "" || status == i.Status {
			items = append(items, s.infractionRow(i))
		}
	}
	start := min((page-1)*size, len(items))
	return done(http.StatusOK, map[string]any{"items": items[start:min(start+size, len(items))], "page": page})
}

func (s *Sim) infractionRow(i *infraction) map[string]any {
	t := s.transactions[i.Transaction]
	return map[string]any{
		"infraction_id": i.ID, "type": "med", "status": i.Status, "amount": json.Number(t.Amount), "currency": t.Currency,
		"transaction_id": t.ID, "e2e_id": endToEnd(t), "replies": i.Replies, "opened_at": i.Opened,
	}
}

func (s *Sim) infraction(r *http.Request, _ []byte, _ simkit.Faults) simkit.Answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range s.infractions {
		if i.ID == r.URL.Query().Get("id") {
			return done(http.StatusOK, s.infractionRow(i))
		}
	}
	return refuse(http.StatusNotFound, "NOT_FOUND")
}

func (s *Sim) reply(r *http.Request, body []byte, _ simkit.Faults) simkit.Answer {
	r.Body = io.NopCloser(bytes.NewReader(body))
	if err := r.ParseMultipartForm(64 << 20); err != nil {
		return refuse(http.StatusBadRequest, "INVALID_PAYLOAD")
	}
	id, message := r.PostFormValue("id"), r.PostFormValue("message")
	files := r.MultipartForm.File["files[]"]
	if message == "" || utf8.RuneCountInString(message) > 5000 || len(files) > 5 {
		return refuse(http.StatusUnprocessableEntity, "INVALID_REPLY")
	}
	for _, f := range files {
		kind := f.Header.Get("Content-Type")
		if f.Size > maxReplyFile || kind != "application/pdf" && kind != "image/jpeg" && kind != "image/png" {
			return refuse(http.StatusUnprocessableEntity, "INVALID_FILE")
		}
		message += " [" + f.Filename + "]"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range s.infractions {
		if i.ID == id {
			if err := s.record(record{Op: "reply", ID: id, Text: message}); err != nil {
				return refuse(http.StatusInternalServerError, "INTERNAL_ERROR")
			}
			return done(http.StatusOK, s.infractionRow(i))
		}
	}
	return refuse(http.StatusNotFound, "NOT_FOUND")
}
