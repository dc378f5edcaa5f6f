package facade

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/localapi"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/pix"
	"github.com/ssg-safe/agent/redact"
)

// generate makes a charge and waits for its code.
func (s *Server) generate(w http.ResponseWriter, r *http.Request, c *client) (any, error) {
	in, err := s.fields(w, r)
	if err != nil {
		return nil, err
	}
	o, err := s.order(in, c)
	if err != nil {
		return nil, err
	}
	// Of a caller who hangs up meanwhile we must know the charge, to cancel it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), startWithin)
	defer cancel()
	id, err := s.Desk.Start(ctx, o)
	if err != nil {
		return nil, s.refused(err)
	}
	record, err := s.await(r.Context(), id)
	if err != nil {
		return nil, err
	}
	type data struct {
		ID   charge.ID `json:"id"`
		Code string    `json:"qrcode"`
	}
	return map[string]data{"data": {id, record.Code}}, nil
}

// await waits for the code of a charge. Without one in time, or from a provider
// that gives none, the charge is cancelled: nobody can pay what nobody has seen.
func (s *Server) await(ctx context.Context, id charge.ID) (localapi.Record, error) {
	limit, cancel := context.WithTimeout(ctx, codeWithin)
	defer cancel()
	for {
		woken := s.Woken()
		record, err := s.Desk.Charge(id)
		switch {
		case err != nil:
			return record, err
		case record.Charge.State == charge.Pending && record.Code != "" && ctx.Err() == nil:
			return record, nil
		case record.Charge.State == charge.Paid, record.Charge.State == charge.PartiallyRefunded: // by who saw its code on the terminal's screen
			return record, nil
		case !record.Charge.State.Open():
			return record, &failure{status: http.StatusInternalServerError, code: codeProvider, text: textProvider}
		case record.Charge.State == charge.Pending && record.Code == "":
			return record, s.abandon(ctx, id, &failure{status: http.StatusInternalServerError, code: codeNone, text: textNone})
		}
		select {
		case <-woken:
		case <-time.After(lookEvery):
		case <-limit.Done():
			return record, s.abandon(ctx, id, &failure{status: http.StatusInternalServerError, code: codeLate, text: textLate})
		}
	}
}

// abandon cancels a charge whose code nobody will see.
func (s *Server) abandon(ctx context.Context, id charge.ID, why *failure) error {
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), startWithin)
	defer cancel()
	if err := s.Desk.Cancel(end, id); err != nil {
		s.Logger.Warn("a charge whose code nobody will see is not cancelled", "charge", id, "err", err)
	}
	return why
}

// refused is what the desk's error is to a safe.
func (s *Server) refused(err error) error {
	r, ok := errors.AsType[*localapi.Refusal](err)
	if !ok {
		s.Logger.Error("a charge of unknown outcome", "err", err)
		return &failure{status: http.StatusInternalServerError, code: codeUnknown, text: textUnknown}
	}
	switch r.Code {
	case localapi.AmountRefused:
		return invalid(map[string][]string{"valor": {textLimits.String()}})
	case localapi.Busy, localapi.Stopping, localapi.ScreenTaken:
		return &failure{status: http.StatusServiceUnavailable, code: codeBusy, text: textBusy}
	case localapi.StoreFull, localapi.StoreReadOnly:
		return &failure{status: http.StatusServiceUnavailable, code: codeStore, text: textStore}
	}
	return err
}

func invalid(fields map[string][]string) *failure {
	return &failure{status: http.StatusUnprocessableEntity, text: textInvalid, fields: fields}
}

// status tells what became of a charge.
func (s *Server) status(w http.ResponseWriter, r *http.Request, c *client) (any, error) {
	in, err := s.fields(w, r)
	if err != nil {
		return nil, err
	}
	id := in["qrcode_id"]
	if id == "" {
		return nil, invalid(map[string][]string{"qrcode_id": {textMissing.String()}})
	}
	none := &failure{status: http.StatusNotFound, code: codeNotFound, text: textNotFound}
	if !chargeForm.MatchString(id) {
		return nil, none
	}
	record, err := s.Desk.Charge(charge.ID(id))
	if refusal, ok := errors.AsType[*localapi.Refusal](err); ok && refusal.Code == localapi.ChargeNotFound {
		return nil, none
	}
	switch {
	case err != nil:
		return nil, err
	case record.Charge.Source != c.source():
		return nil, none
	}
	type data struct {
		ID   string `json:"qrcode_id"`
		Word string `json:"status"`
	}
	return map[string]data{"data": {id, wordOf(record.Charge.State)}}, nil
}

// wordOf is a state in the middleware's three words. A charge whose money went
// back as a whole is not one to deliver for.
func wordOf(s charge.State) string {
	switch s {
	case charge.Created, charge.Pending:
		return "PENDENTE"
	case charge.Paid, charge.PartiallyRefunded:
		return "PAGO"
	}
	return "EXPIRADO"
}

// decode reads one JSON object strictly, as far as it is known: a name that comes
// twice, or is written otherwise, is not taken for another. Values that are no text
// count as missing.
func decode(raw []byte) (map[string]string, error) {
	malformed := errors.New("not a JSON object")
	if !utf8.Valid(raw) {
		return nil, malformed
	}
	in := json.NewDecoder(bytes.NewReader(raw))
	if t, err := in.Token(); err != nil || t != json.Delim('{') {
		return nil, malformed
	}
	fields := make(map[string]string)
	seen := make(map[string]bool)
	for in.More() {
		t, err := in.Token()
		name, ok := t.(string)
		if err != nil || !ok || seen[name] {
			return nil, malformed
		}
		seen[name] = true
		var value any
		if err := in.Decode(&value); err != nil {
			return nil, malformed
		}
		if text, ok := value.(string); ok {
			fields[name] = text
		}
	}
	if _, err := in.Token(); err != nil {
		return nil, malformed
	}
	if _, err := in.Token(); !errors.Is(err, io.EOF) {
		return nil, malformed
	}
	return fields, nil
}

var (
	amountForm   = regexp.MustCompile(`^[0-9]{1,12}\.[0-9]{2}$`)
	emailForm    = regexp.MustCompile(`^[^@\s]+@[^@\s]+$`)
	stateForm    = regexp.MustCompile(`^[A-Za-z]{2}$`)
	postcodeForm = regexp.MustCompile(`^[0-9]{8}$`)
	chargeForm   = regexp.MustCompile(`^[A-Z0-9]{25}$`)
)

// expiryLayouts are the forms of data_expiracao; the first is the document's.
var expiryLayouts = []string{"2006-01-02T15:04:05", time.DateTime, time.RFC3339}

// order reads a request for a charge. All fields are judged at once.
func (s *Server) order(in map[string]string, c *client) (localapi.Order, error) {
	o := localapi.Order{Source: c.source(), Merchant: c.Merchant, Present: c.Present}
	wrong := make(map[string][]string)
	field := func(name string, most int, ok func(string) bool, why text) string {
		v := in[name]
		switch {
		case v == "":
			why = textMissing
		case utf8.RuneCountInString(v) > most:
			why = textLong
		case strings.ContainsFunc(v, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }):
			why = textUnprintable
		case ok == nil || ok(v):
			return v
		}
		wrong[name] = []string{why.String()}
		return ""
	}
	field("valor", 15, func(v string) (ok bool) {
		var err error
		o.Amount, err = money.Parse(v)
		return amountForm.MatchString(v) && err == nil && o.Amount > 0
	}, textAmount)
	field("chave", 77, func(v string) bool { return v == c.Key }, textKey)
	field("account_id", 36, func(v string) bool { return strings.EqualFold(v, c.Account) }, textAccount)
	field("data_expiracao", 40, func(v string) bool {
		for _, layout := range expiryLayouts {
			if at, err := time.ParseInLocation(layout, v, s.Zone); err == nil {
				o.Expiry = at.Sub(s.Now()).Truncate(time.Second)
				return o.Expiry >= localapi.MinExpiry && o.Expiry <= localapi.MaxExpiry
			}
		}
		return false
	}, textExpiry)
	o.Payer = localapi.Payer{
		Name:     redact.Name(field("nome_pagador", 255, nil, text{})),
		Email:    redact.Email(field("email_pagador", 255, emailForm.MatchString, textEmail)),
		Document: redact.Document(field("documento_pagador", 14, func(v string) bool { return pix.ValidCPF(v) || pix.ValidCNPJ(v) }, textDocument)),
		Address:  redact.Text(field("endereco_pagador", 255, nil, text{})),
		City:     redact.Text(field("cidade_pagador", 255, nil, text{})),
		State:    strings.ToUpper(field("uf_pagador", 2, stateForm.MatchString, textState)),
		Postcode: redact.Text(field("cep_pagador", 8, postcodeForm.MatchString, textPostcode)),
	}
	if len(wrong) > 0 {
		return o, invalid(wrong)
	}
	return o, nil
}
