package basspagosim

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/simkit"
)

// work is what a route does with a request and its body.
type work func(r *http.Request, in map[string]any, f simkit.Faults) simkit.Answer

func (s *Sim) routes() {
	s.mux = http.NewServeMux()
	s.Control(s.mux, s)
	s.ShowWebhooks(s.mux, s.events)
	s.mux.HandleFunc("POST /sim/shop", s.shop)
	serve := func(path, route string, do work) {
		s.mux.HandleFunc("POST /"+path, func(w http.ResponseWriter, r *http.Request) {
			s.Serve(route, w, r, func(f simkit.Faults) simkit.Answer {
				text, err := io.ReadAll(io.LimitReader(r.Body, providers.MaxBody))
				d := json.NewDecoder(bytes.NewReader(text))
				d.UseNumber()
				var in map[string]any
				if err != nil || d.Decode(&in) != nil || in == nil {
					return s.refuse(http.StatusBadRequest, "badRequest")
				}
				return do(r, in, f)
			})
		})
	}
	serve("create-paycheckout", RouteCreate, s.create)
	serve("obtain-paycheckout", RouteStatus, s.obtain)
	serve("obtain-paycheckouts-api-list", RouteList, s.list)
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		a := simkit.Page("404 Not Found")
		a.Status = http.StatusNotFound
		s.Missing(w, r, a)
	})
}

// ServeHTTP serves the provider's API, at any path, and the control routes.
func (s *Sim) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.HasPrefix(r.URL.Path, "/sim/") {
		r = r.Clone(r.Context())
		r.URL.Path = "/" + path.Base(r.URL.Path)
	}
	s.mux.ServeHTTP(w, r)
}

// refusal is the error body for an HTTP status.
func (s *Sim) refusal(status int) simkit.Answer {
	return simkit.JSON(status, map[string]string{"message": "error." + strconv.Itoa(status)})
}

// refuse states an error as this provider does.
func (s *Sim) refuse(status int, message string) simkit.Answer {
	if s.opts.ErrorsUnder200 {
		status = http.StatusOK
	}
	return simkit.JSON(status, map[string]string{"message": message})
}

func text(in map[string]any, name string) string {
	s, _ := in[name].(string)
	return strings.TrimSpace(s)
}

var eightDigits = regexp.MustCompile(`^[0-9]{8}$`)

func (s *Sim) create(_ *http.Request, in map[string]any, _ simkit.Faults) simkit.Answer {
	if text(in, "key") != s.opts.Key {
		return s.refuse(http.StatusBadRequest, "notValidKey")
	}
	for _, name := range []string{"externalId", "externalProductId", "externalProductName", "solicitacao"} {
		if text(in, name) == "" {
			return s.refuse(http.StatusBadRequest, "notValid."+name)
		}
	}
	debtor, _ := in["devedor"].(map[string]any)
	for _, name := range []string{"devedorNome", "devedorEndereco", "devedorBairro", "devedorCidade", "devedorUf"} {
		if text(debtor, name) == "" {
			return s.refuse(http.StatusBadRequest, "notValid."+name)
		}
	}
	if !eightDigits.MatchString(text(debtor, "devedorCep")) {
		return s.refuse(http.StatusBadRequest, "notValid.devedorCep")
	}
	number, _ := in["amount"].(json.Number)
	amount, err := money.Parse(number.String())
	if err != nil || amount <= 0 {
		return s.refuse(http.StatusBadRequest, "notValid.amount")
	}
	k, err := s.add(checkout{
		ExternalID: text(in, "externalId"), Product: text(in, "externalProductId"), ProductName: text(in, "externalProductName"), Amount: amount,
	})
	switch {
	case errors.Is(err, errKnown):
		return s.refuse(http.StatusBadRequest, "externalIdAlreadyExists")
	case err != nil:
		return s.refusal(http.StatusInternalServerError)
	case s.opts.BareToken:
		return simkit.JSON(http.StatusOK, k.Token)
	}
	return simkit.JSON(http.StatusOK, map[string]string{"token": k.Token})
}

func (s *Sim) obtain(_ *http.Request, in map[string]any, f simkit.Faults) simkit.Answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.tokens[text(in, "token")]
	if k == nil {
		return s.refuse(http.StatusBadRequest, "notValidKey")
	}
	now := time.Now()
	if err := s.look(k); err != nil {
		return s.refusal(http.StatusInternalServerError)
	}
	word, external := k.word(now), k.ExternalID
	amount := json.Number(k.Amount.String())
	var payment any
	if word == approved && !f.Has(PaymentNull) {
		payment = map[string]any{
			"paymentType": "PIX", "amountPayed": amount, "amountCredited": json.Number((k.Amount - k.Amount/100).String()),
			"valorDesconto": 0.0, "valorJuros": 0.0, "valorMulta": 0.0, "dataPayment": k.Due.UTC().Format(time.RFC3339),
			"pagadorNome": "PESSOA INVENTADA QUE PAGOU", "pagadorInscricaoNacional": "39053344705",
		}
	}
	if f.Has(simkit.Word) {
		word = f[simkit.Word]
	}
	if f.Has(simkit.Echo) {
		external = "ABCD00039"
	}
	return simkit.JSON(http.StatusOK, map[string]any{
		"referenceNumber": k.Reference, "externalId": external, "externalProductId": k.Product, "externalProductName": k.ProductName,
		"amount": amount, "totalAmount": amount, "key": s.opts.Key, "devedorMail": "devedor.inventado@example.com", "status": word,
		"merchantName": "LOJA SIMULADA LTDA", "createdAt": k.Created.Format("2006-01-02T15:04:05.000000Z"), "keyCurrencyCode": "BRL",
		"payment": payment,
	})
}

// code is the Encrypted-Security-Code.
func (s *Sim) code() string {
	if s.opts.Signature == Verbatim {
		return s.opts.Secret.Reveal()
	}
	m := hmac.New(sha512.New, []byte(s.opts.Secret.Reveal()))
	io.WriteString(m, "key="+s.opts.Key) // a hash never fails
	code := hex.EncodeToString(m.Sum(nil))
	if s.opts.Signature == Trunc72 {
		code = code[:72]
	}
	return code
}

func (s *Sim) list(r *http.Request, in map[string]any, f simkit.Faults) simkit.Answer {
	if text(in, "key") != s.opts.Key || !hmac.Equal([]byte(r.Header.Get("Encrypted-Security-Code")), []byte(s.code())) {
		return s.refuse(http.StatusBadRequest, "notValidKey")
	}
	q := r.URL.Query()
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	found := slices.Clone(s.order)
	if s.opts.Filters != NoFilters {
		found = slices.DeleteFunc(found, func(k *checkout) bool { return !s.selects(q, k, now) })
	}
	if q.Get("sort") == "createdAt,desc" {
		slices.Reverse(found)
	}
	number, _ := strconv.Atoi(q.Get("page"))
	size, err := strconv.Atoi(q.Get("size"))
	if err != nil || size < 1 {
		size = 10
	}
	size = min(size, 50)
	start := max(0, number) * size
	if f.Has(Drift) {
		start -= number
	}
	if f.Has(Skip) {
		start += number
	}
	rows := []map[string]string{}
	for _, k := range found[min(start, len(found)):min(start+size, len(found))] {
		if err := s.look(k); err != nil {
			return s.refusal(http.StatusInternalServerError)
		}
		row := map[string]string{
			"referenceNumber": k.Reference, "externalId": k.ExternalID, "externalProductId": k.Product, "status": cmp.Or(f[simkit.Word], k.word(now)), "type": "PIX",
		}
		if f.Has(simkit.Echo) {
			row["externalId"] = "ABCD00039"
		}
		rows = append(rows, row)
	}
	a := simkit.JSON(http.StatusOK, rows)
	a.Header.Set("X-Total-Count", strconv.Itoa(len(found)))
	return a
}

// selects applies the filters that the list knows.
func (s *Sim) selects(q url.Values, k *checkout, now time.Time) bool {
	since := "greaterThanOrEqual"
	if s.opts.Filters == DocumentFilters {
		since = "greatherThanOrEqual"
	}
	for field, at := range map[string]time.Time{"createdAt": k.Created, "updatedAt": k.Updated} {
		if from, err := time.Parse(time.RFC3339, q.Get(field+"."+since)); err == nil && at.Before(from) {
			return false
		}
		if till, err := time.Parse(time.RFC3339, q.Get(field+".lessThan")); err == nil && !at.Before(till) {
			return false
		}
	}
	if s.opts.Filters == FrameworkFilters && q.Has("externalId.equals") && q.Get("externalId.equals") != k.ExternalID {
		return false
	}
	return !q.Has("status.equals") || q.Get("status.equals") == k.word(now)
}

func (s *Sim) shop(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Amount money.Decimal `json:"amount"`
	}
	err := json.NewDecoder(io.LimitReader(r.Body, 1<<16)).Decode(&in)
	if err == nil && in.Amount <= 0 {
		err = errors.New("the amount is not positive")
	}
	if err != nil {
		http.Error(w, `want {"amount":"12.34"}: `+err.Error(), http.StatusBadRequest)
		return
	}
	token, err := s.Shop(money.Amount(in.Amount))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(map[string]string{"token": token.Reveal()}) // the client may have gone
}

// Doorbell is the form of the webhook: the provider documents none, and signs
// nothing that is known.
const Doorbell = "doorbell"

// UnknownEvent rings for something that the document does not know.
const UnknownEvent = "unknown_event"

// Deliver rings the doorbell at a URL over a transport until ctx ends, as
// [simkit.Courier] says: once a checkout is paid or rejected. What the receiver does
// not take comes again after 1 m, 5 m and 15 m; the provider tells nothing of that.
func (s *Sim) Deliver(ctx context.Context, to string, over http.RoundTripper) error {
	c := simkit.Courier{
		Kit: s.Kit, Due: s.events, Dir: s.opts.Dir, Name: "basspago-webhooks.jsonl", To: to, Over: over, Logger: s.log,
		Retry: []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute},
	}
	return c.Run(ctx)
}

func (s *Sim) events() []simkit.Notice {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []simkit.Notice
	for _, k := range s.order {
		word := k.word(time.Now())
		if word == pending {
			continue
		}
		reference, external := k.Reference, k.ExternalID
		all = append(all, simkit.Notice{ID: external + "/" + word, Write: func(_, fault string) simkit.Delivery {
			said := word
			if fault == UnknownEvent {
				said = "REVIEWED"
			}
			a := simkit.JSON(http.StatusOK, map[string]string{"referenceNumber": reference, "externalId": external, "status": said})
			return simkit.Delivery{Header: a.Header, Body: string(a.Body)}
		}})
	}
	return all
}
