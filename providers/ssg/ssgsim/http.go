package ssgsim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/mail"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/simkit"
)

// The provider's status words.
var words = map[providers.Status]string{
	providers.StatusPending: "PENDENTE", providers.StatusPaid: "PAGO", providers.StatusExpired: "EXPIRADO",
}

func (s *Sim) routes() {
	s.mux = http.NewServeMux()
	serve := func(pattern, route string, guarded bool, work func(*http.Request, simkit.Faults) simkit.Answer) {
		s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			s.Serve(route, w, r, func(f simkit.Faults) simkit.Answer {
				switch {
				case !accepts(r):
					return simkit.Page("SSG")
				case guarded && !s.authorised(r):
					return refusal(http.StatusUnauthorized)
				}
				return work(r, f)
			})
		})
	}
	serve("POST /oauth/token", RouteToken, false, s.token)
	serve("POST /api/generate-qrcode", RouteCreate, true, s.create)
	serve("POST /api/qrcode/status", RouteStatus, true, s.status)
	serve("PATCH /api/pix/{id}", RoutePatch, true, s.patch)
	s.control()
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.Missing(w, r, simkit.JSON(http.StatusNotFound, laravel{Message: "The route could not be found."}))
	})
}

// ServeHTTP serves the provider's API and the control routes.
func (s *Sim) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

func accepts(r *http.Request) bool {
	for part := range strings.SplitSeq(r.Header.Get("Accept"), ",") {
		if kind, _, err := mime.ParseMediaType(part); err == nil && kind == "application/json" {
			return true
		}
	}
	return false
}

// laravel is the framework's own error body; the document leaves 401, 422 and
// 429 to it.
type laravel struct {
	Message string              `json:"message"`
	Errors  map[string][]string `json:"errors,omitempty"`
}

// failure is the provider's own error body.
type failure struct {
	Code    int64  `json:"codigo_erro"`
	Message string `json:"mensagem"`
}

func refusal(status int) simkit.Answer {
	switch status {
	case http.StatusUnauthorized:
		return simkit.JSON(status, laravel{Message: "Unauthenticated."})
	case http.StatusNotFound:
		return simkit.JSON(status, failure{543235, "ID não encontrado"})
	case http.StatusUnprocessableEntity:
		return simkit.JSON(status, laravel{"The given data was invalid.", map[string][]string{"valor": {"The valor format is invalid."}}})
	case http.StatusTooManyRequests:
		return simkit.JSON(status, laravel{Message: "Too Many Attempts."})
	case http.StatusInternalServerError:
		return simkit.JSON(status, failure{13123123123, "Erro interno"})
	}
	return simkit.JSON(status, laravel{Message: http.StatusText(status)})
}

// payload is a request body: every value as text, whatever its JSON type, as
// the framework's validation sees it.
func payload(r *http.Request) (map[string]string, bool) {
	text, err := io.ReadAll(io.LimitReader(r.Body, providers.MaxBody))
	if err != nil {
		return nil, false
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var raw map[string]any
	if err := d.Decode(&raw); err != nil {
		return nil, false
	}
	fields := map[string]string{}
	for name, value := range raw {
		if value != nil {
			fields[name] = fmt.Sprint(value)
		}
	}
	return fields, true
}

func (s *Sim) token(r *http.Request, _ simkit.Faults) simkit.Answer {
	in, ok := payload(r)
	if !ok || in["grant_type"] != "client_credentials" {
		return simkit.JSON(http.StatusBadRequest, map[string]string{
			"error": "unsupported_grant_type", "message": "The authorization grant type is not supported by the authorization server.",
		})
	}
	if !s.knows(in["client_id"], in["client_secret"]) {
		return simkit.JSON(http.StatusUnauthorized, map[string]string{
			"error": "invalid_client", "error_description": "Client authentication failed", "message": "Client authentication failed",
		})
	}
	token, life, err := s.newToken()
	if err != nil {
		return refusal(http.StatusInternalServerError)
	}
	return simkit.JSON(http.StatusOK, map[string]any{
		"token_type": "Bearer", "expires_in": int64(life / time.Second), "access_token": token,
	})
}

var (
	looseAmount  = regexp.MustCompile(`^(\d{1,12}).(\d{2})`)
	strictAmount = regexp.MustCompile(`^(\d{1,12})\.(\d{2})$`)
	document     = regexp.MustCompile(`^\d{11,14}$`)
	postcode     = regexp.MustCompile(`^\d{8}$`)
	accountID    = regexp.MustCompile(`^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$`)
)

func (s *Sim) create(r *http.Request, f simkit.Faults) simkit.Answer {
	in, ok := payload(r)
	if !ok {
		return refusal(http.StatusUnprocessableEntity)
	}
	wrong := map[string][]string{}
	check := func(field string, valid func(string) bool, rule string) {
		switch value := in[field]; {
		case value == "":
			wrong[field] = []string{"The " + field + " field is required."}
		case !valid(value):
			wrong[field] = []string{"The " + field + " " + rule}
		}
	}
	amounts := looseAmount
	if s.opts.Strict {
		amounts = strictAmount
	}
	short := func(v string) bool { return utf8.RuneCountInString(v) <= 255 }
	var expires time.Time
	check("valor", amounts.MatchString, "format is invalid.")
	check("chave", short, "must not be greater than 255 characters.")
	check("data_expiracao", func(v string) (ok bool) { expires, ok = s.date(v); return ok }, "is not a valid date.")
	check("nome_pagador", short, "must not be greater than 255 characters.")
	check("email_pagador", func(v string) bool {
		a, err := mail.ParseAddress(v)
		return err == nil && a.Address == v && short(v)
	}, "must be a valid email address.")
	check("documento_pagador", document.MatchString, "format is invalid.")
	check("cep_pagador", postcode.MatchString, "format is invalid.")
	check("endereco_pagador", short, "must not be greater than 255 characters.")
	check("cidade_pagador", short, "must not be greater than 255 characters.")
	check("uf_pagador", func(v string) bool { return utf8.RuneCountInString(v) == 2 }, "must be 2 characters.")
	check("account_id", accountID.MatchString, "must be a valid UUID.")
	if len(wrong) > 0 {
		return simkit.JSON(http.StatusUnprocessableEntity, laravel{"The given data was invalid.", wrong})
	}
	// What the loose expression lets through is read as the expression reads it.
	m := amounts.FindStringSubmatch(in["valor"])
	amount, err := money.Parse(m[1] + "." + m[2])
	if err != nil {
		return refusal(http.StatusInternalServerError)
	}
	c, err := s.newCharge(amount, in["account_id"], expires)
	if err != nil {
		return refusal(http.StatusInternalServerError)
	}
	code := c.Code
	if f.Has(simkit.Code) {
		code = s.payee.Spoiled(f[simkit.Code], location(c.ID), c.Amount, in["chave"])
	}
	return simkit.JSON(http.StatusCreated, map[string]any{"data": map[string]string{"id": c.ID, "qrcode": code}})
}

// date reads what the framework takes for a date; without a zone it is the
// provider's.
func (s *Sim) date(text string) (time.Time, bool) {
	for _, layout := range []string{"2006-01-02T15:04:05", "2006-01-02 15:04:05", time.RFC3339, "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, text, s.zone); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

func (s *Sim) status(r *http.Request, f simkit.Faults) simkit.Answer {
	in, ok := payload(r)
	if !ok || in["qrcode_id"] == "" {
		return simkit.JSON(http.StatusUnprocessableEntity, laravel{
			"The given data was invalid.", map[string][]string{"qrcode_id": {"The qrcode id field is required."}},
		})
	}
	id := in["qrcode_id"]
	status, err := s.look(id)
	switch {
	case errors.Is(err, simkit.ErrNoCharge):
		return refusal(http.StatusNotFound)
	case err != nil:
		return refusal(http.StatusInternalServerError)
	}
	word := words[status]
	if f.Has(simkit.Word) {
		word = f[simkit.Word]
	}
	if f.Has(simkit.Echo) {
		id = "00000000-0000-4000-8000-000000000000"
	}
	return simkit.JSON(http.StatusOK, map[string]any{"data": map[string]string{"qrcode_id": id, "status": word}})
}

func (s *Sim) patch(r *http.Request, _ simkit.Faults) simkit.Answer {
	in, _ := payload(r)
	for status, word := range words {
		if in["status"] != word {
			continue
		}
		switch err := s.force(r.PathValue("id"), status, "patch"); {
		case errors.Is(err, simkit.ErrNoCharge):
			return simkit.JSON(http.StatusNotFound, failure{123, "Pix não encontrado"})
		case err != nil:
			return refusal(http.StatusInternalServerError)
		}
		return simkit.Answer{Status: http.StatusNoContent}
	}
	return simkit.JSON(http.StatusUnprocessableEntity, laravel{
		"The given data was invalid.", map[string][]string{"status": {"The selected status is invalid."}},
	})
}

// State sums up the ledger.
type State struct {
	Charges  int          `json:"charges"`
	Sum      money.Amount `json:"sum"` // centavos, of all charges
	Paid     int          `json:"paid"`
	PaidSum  money.Amount `json:"paid_sum"` // centavos
	Expired  int          `json:"expired"`
	Requests int          `json:"requests"`
	Patches  int          `json:"patches"` // an agent never sends one
}

// State returns counts and sums as of now.
func (s *Sim) State() State {
	st := State{Patches: s.Log().Method(http.MethodPatch), Requests: s.Log().Total()}
	for _, c := range s.Charges() {
		st.Charges++
		st.Sum += c.Amount
		switch c.Status {
		case providers.StatusPaid:
			st.Paid++
			st.PaidSum += c.Amount
		case providers.StatusExpired:
			st.Expired++
		}
	}
	return st
}

func (s *Sim) control() {
	s.Control(s.mux, s)
	simkit.Show(s.mux, "/sim/state", func() any { return s.State() })
	simkit.Act(s.mux, "POST /sim/tokens/revoke", func(*http.Request) error { return s.RevokeTokens() })
}
