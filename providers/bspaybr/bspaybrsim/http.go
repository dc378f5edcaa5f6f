package bspaybrsim

import (
	"bytes"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/simkit"
)

// fields are the fields of a request.
type fields map[string]string

func (s *Sim) routes() {
	s.mux = http.NewServeMux()
	serve := func(pattern, route string, work func(fields, simkit.Faults) simkit.Answer) {
		s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			s.Serve(route, w, r, func(f simkit.Faults) simkit.Answer {
				in, ok := s.read(r, route)
				switch {
				case !ok:
					return s.refusal(http.StatusBadRequest)
				case !s.knows(r, route, in):
					return s.refusal(http.StatusUnauthorized)
				}
				return work(in, f)
			})
		})
	}
	serve("POST /v3/pix/qrcode", RouteCreate, s.create)
	serve("POST /v3/pix/payment", RoutePayment, s.payment)
	for _, path := range []string{"/libs/consult/transaction_status", "/libs/consult/transaction_status.php"} {
		serve("GET "+path, RouteStatus, s.status)
		serve("POST "+path, RouteStatus, s.status)
	}
	s.Control(s.mux, s)
	simkit.Show(s.mux, "/sim/payouts", func() any { return s.Payouts() })
	s.ShowWebhooks(s.mux, s.events)
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		a := simkit.Page("404 Not Found")
		a.Status = http.StatusNotFound
		s.Missing(w, r, a)
	})
}

// ServeHTTP serves the provider's API and the control routes.
func (s *Sim) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// read takes the fields out of a request: a form, the query of a GET, JSON where
// it is a status question.
func (s *Sim) read(r *http.Request, route string) (fields, bool) {
	if r.Method == http.MethodGet {
		return fields{"id": r.URL.Query().Get("id")}, true
	}
	text, err := io.ReadAll(io.LimitReader(r.Body, providers.MaxBody))
	if err != nil {
		return nil, false
	}
	in := fields{}
	switch kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); {
	case kind == "application/json" && (route == RouteStatus || s.opts.JSON):
		d := json.NewDecoder(bytes.NewReader(text))
		d.UseNumber()
		var raw map[string]any
		if err := d.Decode(&raw); err != nil {
			return nil, false
		}
		for name, value := range raw {
			in[name] = fmt.Sprint(value)
		}
	case kind == "application/x-www-form-urlencoded" && route != RouteStatus:
		form, err := url.ParseQuery(string(text))
		if err != nil {
			return nil, false
		}
		for name := range form {
			in[name] = form.Get(name)
		}
	default:
		return nil, false
	}
	return in, true
}

// knows checks the credentials where the route wants them.
func (s *Sim) knows(r *http.Request, route string, in fields) bool {
	id, secret := in["client_id"], in["client_secret"]
	if route == RouteStatus {
		if s.opts.OpenStatus {
			return true
		}
		id, secret = r.Header.Get("ci"), r.Header.Get("cs")
	}
	return subtle.ConstantTimeCompare([]byte(id), []byte(s.opts.ClientID)) == 1 &&
		subtle.ConstantTimeCompare([]byte(secret), []byte(s.opts.ClientSecret.Reveal())) == 1
}

// messages are what error bodies say.
var messages = map[int]string{
	http.StatusBadRequest: "Parâmetros inválidos", http.StatusUnauthorized: "Credenciais inválidas",
	http.StatusForbidden: "Saldo insuficiente", http.StatusNotFound: "Transação não encontrada",
	http.StatusTooManyRequests: "Limite de requisições excedido", http.StatusInternalServerError: "Erro interno",
}

func (s *Sim) refusal(status int) simkit.Answer {
	if s.opts.BlankErrors {
		return simkit.Answer{Status: status}
	}
	message := messages[status]
	if message == "" {
		message = http.StatusText(status)
	}
	return simkit.JSON(status, map[string]string{"message": message})
}

var (
	decimalForm = regexp.MustCompile(`^[0-9]{1,10}(\.[0-9]{1,2})?$`)
	cpfForm     = regexp.MustCompile(`^[0-9]{11}$`)
	taxForm     = regexp.MustCompile(`^([0-9]{11}|[0-9A-Z]{14})$`)
)

// accepts reads what both orders have. Everything is required.
func (in fields) accepts(document *regexp.Regexp) (transaction, bool) {
	callback, err := url.Parse(in["urlnoty"])
	if err != nil || callback.Scheme != "https" || callback.Host == "" ||
		strings.TrimSpace(in["nome"]) == "" || !document.MatchString(in["cpf"]) || !decimalForm.MatchString(in["valor"]) {
		return transaction{}, false
	}
	amount, err := money.Parse(in["valor"])
	return transaction{Amount: amount, Callback: in["urlnoty"]}, err == nil && amount > 0
}

// picture stands for the picture of a code.
const picture = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="

func (s *Sim) create(in fields, f simkit.Faults) simkit.Answer {
	t, ok := in.accepts(cpfForm)
	if !ok {
		return s.refusal(http.StatusBadRequest)
	}
	t, err := s.add(t)
	if err != nil {
		return s.refusal(http.StatusInternalServerError)
	}
	code := t.Code
	switch {
	case s.opts.Picture:
		code = picture
	case f.Has(simkit.Code):
		code = s.payee.Spoiled(f[simkit.Code], location(t.Reference), t.Amount, "")
	}
	name := "reference_code"
	if s.opts.ExternalID {
		name = "external_id"
	}
	return simkit.JSON(http.StatusOK, map[string]any{
		"transactionId": t.TransactionID, "status": pending, "amount": json.Number(t.Amount.String()), "qrcode": code, name: t.Reference,
	})
}

func (s *Sim) payment(in fields, f simkit.Faults) simkit.Answer {
	t, ok := in.accepts(taxForm)
	if !ok || in["chave_pix"] == "" {
		return s.refusal(http.StatusBadRequest)
	}
	if f.Has(Inner) {
		status, _ := strconv.Atoi(f[Inner])
		return simkit.JSON(http.StatusOK, []any{map[string]any{"statusCode": status, "message": "Transferência recusada"}})
	}
	t.Payout, t.Fails = true, strings.HasPrefix(in["chave_pix"], "nobody")
	switch _, err := s.add(t); {
	case errors.Is(err, errFunds):
		return s.refusal(http.StatusForbidden)
	case err != nil:
		return s.refusal(http.StatusInternalServerError)
	}
	return simkit.JSON(http.StatusOK, []any{map[string]any{"statusCode": http.StatusOK, "message": "Transferência PIX processada com sucesso"}})
}

func (s *Sim) status(in fields, f simkit.Faults) simkit.Answer {
	t, word, err := s.look(in["id"])
	switch {
	case errors.Is(err, simkit.ErrNoCharge):
		return s.refusal(http.StatusNotFound)
	case err != nil:
		return s.refusal(http.StatusInternalServerError)
	}
	if f.Has(simkit.Word) {
		word = f[simkit.Word]
	}
	if f.Has(simkit.Echo) {
		t.Reference = s.name("elsewhere", 0)
	}
	if f.Has(Callback) {
		t.Callback = t.Callback[:strings.LastIndex(t.Callback, "/")+1] + s.name("callback", 0)
	}
	data := map[string]any{
		"external_id": t.Reference, "status": word, "amount": t.Amount.String(), "confirmed_date": nil, "postback_url": t.Callback,
	}
	if word == paid {
		data["confirmed_date"] = t.Due.In(s.zone).Format("2006-01-02 15:04:05")
	}
	return simkit.JSON(http.StatusOK, map[string]any{"Bank": "Bspaybr", "data": data})
}
