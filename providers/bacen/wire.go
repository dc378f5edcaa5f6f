package bacen

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/pix"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/redact"
)

// The bodies of the API. Field names are the standard's.

type cobRequest struct {
	Calendar struct {
		Expiry int64 `json:"expiracao"` // seconds
	} `json:"calendario"`
	Debtor *debtor `json:"devedor,omitempty"`
	Value  struct {
		Original string `json:"original"`
	} `json:"valor"`
	Key  string `json:"chave"`
	Text string `json:"solicitacaoPagador,omitempty"`
}

type debtor struct {
	CPF  string `json:"cpf,omitempty"`
	CNPJ string `json:"cnpj,omitempty"`
	Name string `json:"nome"`
}

type removal struct {
	Status string `json:"status"`
}

const wordRemovedByUs = "REMOVIDA_PELO_USUARIO_RECEBEDOR"

// words maps the standard's states. Anything else is uncertain.
var words = map[string]providers.Status{
	"ATIVA":             providers.StatusPending,
	"CONCLUIDA":         providers.StatusPaid,
	wordRemovedByUs:     providers.StatusCancelled,
	"REMOVIDA_PELO_PSP": providers.StatusCancelled,
}

// Limits of the standard.
const (
	maxExpiry = 1<<31 - 1 // seconds
	maxText   = 140       // characters of solicitacaoPagador
	maxName   = 200       // characters of a debtor's name
)

var (
	amountForm   = regexp.MustCompile(`^\d{1,10}\.\d{2}$`)
	endToEndForm = regexp.MustCompile(`^[a-zA-Z0-9]{32}$`)
)

// isTxID accepts letters and digits, at least so many and at most 35.
func isTxID(s string, least int) bool {
	return len(s) >= least && len(s) <= 35 && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	})
}

// newCreate checks an intent and makes the request of it.
func (c *Client) newCreate(in providers.Intent) (txid string, req *cobRequest, hide providers.Hidden, err error) {
	hide = c.hidden().WithPayer(in.Payer).WithSecret(redact.Secret(in.Key))
	fail := func(code, detail string) (string, *cobRequest, providers.Hidden, error) {
		return "", nil, hide, c.http.Fail(providers.Call{Op: "create", Hide: hide}, providers.Invalid, providers.Answer{}, code, detail, nil)
	}
	seconds := int64(in.Expiry / time.Second)
	txid, ok := TxID(in.ID, in.Attempt)
	_, keyErr := pix.RecogniseKey(in.Key)
	switch {
	case !ok:
		return fail("invalid_id", "a charge id has 25 letters and digits, an attempt counts from 1")
	case in.Amount <= 0 || !amountForm.MatchString(in.Amount.String()):
		return fail("invalid_amount", "amount must lie between 0.01 and 9999999999.99")
	case seconds < 1 || seconds > maxExpiry:
		return fail("invalid_expiry", "expiry must be at least one second")
	case keyErr != nil:
		return fail("invalid_key", "the receiving key is not a PIX key")
	}
	req = &cobRequest{Key: in.Key, Text: payerText(in.Description)}
	req.Calendar.Expiry = seconds
	req.Value.Original = in.Amount.String()
	if in.Payer.Name != "" && in.Payer.Document != "" {
		d := &debtor{Name: strings.TrimSpace(in.Payer.Name.Reveal())}
		switch document := bare.Replace(in.Payer.Document.Reveal()); {
		case d.Name == "" || len([]rune(d.Name)) > maxName || strings.ContainsFunc(d.Name, func(r rune) bool { return !unicode.IsPrint(r) }):
			return fail("invalid_payer", "payer.name: longer than 200 characters, or not plain text")
		case pix.ValidCPF(document):
			d.CPF = document
		case pix.ValidCNPJ(document):
			d.CNPJ = document
		default:
			return fail("invalid_payer", "payer.document: neither CPF nor CNPJ: wrong length or check digits")
		}
		req.Debtor = d
	}
	return txid, req, hide, nil
}

var bare = strings.NewReplacer(".", "", "-", "", "/", "", " ", "")

// payerText is a description as the payer may read it: one line, cut to length.
func payerText(text string) string {
	text = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(text, ""), func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }), " ")
	if r := []rune(text); len(r) > maxText {
		return strings.TrimSpace(string(r[:maxText-1])) + "…"
	}
	return text
}

// tokenCall is the token request, a form (RFC 6749, 4.4.2). The credentials
// travel in its header or in its body, as the profile says.
func (c *Client) tokenCall() providers.Call {
	form := url.Values{"grant_type": {"client_credentials"}}
	if len(c.cfg.Profile.Scopes) > 0 {
		form.Set("scope", strings.Join(c.cfg.Profile.Scopes, " "))
	}
	header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	if c.cfg.Profile.TokenAuth == AuthForm {
		form.Set("client_id", c.cfg.ClientID)
		form.Set("client_secret", c.cfg.ClientSecret.Reveal())
	} else {
		header.Set("Authorization", "Basic "+c.cfg.basic().Reveal())
	}
	return providers.Call{
		Op: "token", Method: http.MethodPost, URL: c.token, Header: header, Body: []byte(form.Encode()), Hide: c.hidden(),
	}
}

// cob is an immediate charge as the bank has it.
type cob struct {
	txid, word, key string
	amount          money.Amount // valor.original
	created         time.Time
	expiry          time.Duration
	location, code  string
	payments        []payment // of this charge, by time
}

// payment is a received Pix.
type payment struct {
	endToEnd, txid string
	amount         money.Amount
	at             time.Time
	returned       money.Amount // what went back, settled
	returns        []providers.Return
}

func (c cob) status() providers.Status {
	if s, ok := words[strings.ToUpper(c.word)]; ok {
		return s
	}
	return providers.StatusUncertain
}

// differs says how a charge is not the one that was asked for; empty: it is.
func (c cob) differs(txid string, in providers.Intent) (code, detail string) {
	switch {
	case c.txid != txid:
		return "wrong_echo", "the answer is about another charge"
	case c.amount != in.Amount:
		return "wrong_amount", "the charge is over another amount"
	case c.key != in.Key:
		return "wrong_key", "the charge is for another key"
	}
	return "", ""
}

func parseCob(body []byte) (cob, error) {
	var in struct {
		TxID     string `json:"txid"`
		Word     string `json:"status"`
		Key      string `json:"chave"`
		Calendar struct {
			Created string      `json:"criacao"`
			Expiry  json.Number `json:"expiracao"`
		} `json:"calendario"`
		Value struct {
			Original *money.Decimal `json:"original"`
		} `json:"valor"`
		Location string `json:"location"`
		Loc      struct {
			Location string `json:"location"`
		} `json:"loc"`
		Code string            `json:"pixCopiaECola"`
		Pix  []json.RawMessage `json:"pix"`
	}
	if err := providers.DecodeJSON(body, &in); err != nil {
		return cob{}, err
	}
	c := cob{txid: in.TxID, word: in.Word, key: in.Key, location: in.Location, code: in.Code}
	if c.location == "" {
		c.location = in.Loc.Location
	}
	if !isTxID(in.TxID, 26) {
		return cob{}, errors.New("txid is missing or malformed")
	}
	if in.Word == "" || len(in.Word) > 64 || strings.ContainsFunc(in.Word, func(r rune) bool { return r < ' ' || r > '~' }) {
		return cob{}, errors.New("status is missing or malformed")
	}
	if in.Value.Original == nil || *in.Value.Original <= 0 {
		return cob{}, errors.New("valor.original is missing or not above zero")
	}
	c.amount = money.Amount(*in.Value.Original)
	if in.Key == "" || len(in.Key) > 77 {
		return cob{}, errors.New("chave is missing or malformed")
	}
	var err error
	if c.created, err = parseTime(in.Calendar.Created); err != nil {
		return cob{}, fmt.Errorf("calendario.criacao: %w", err)
	}
	seconds, err := in.Calendar.Expiry.Int64()
	if err != nil || seconds < 1 || seconds > maxExpiry {
		return cob{}, errors.New("calendario.expiracao is not a positive number of seconds")
	}
	c.expiry = time.Duration(seconds) * time.Second
	if len(c.location) > 255 {
		return cob{}, errors.New("location is too long")
	}
	seen := map[string]money.Amount{}
	for i, raw := range in.Pix {
		p, err := parsePix(raw)
		switch amount, twice := seen[p.endToEnd]; {
		case err != nil:
			return cob{}, fmt.Errorf("pix[%d]: %w", i, err)
		case p.txid != "" && p.txid != c.txid:
			return cob{}, fmt.Errorf("pix[%d]: a payment of another txid", i)
		case twice && amount != p.amount:
			return cob{}, fmt.Errorf("pix[%d]: an end-to-end id with two amounts", i)
		case twice:
			continue
		}
		seen[p.endToEnd] = p.amount
		c.payments = append(c.payments, p)
	}
	slices.SortStableFunc(c.payments, func(a, b payment) int { return a.at.Compare(b.at) })
	return c, nil
}

// parsePix reads a received Pix strictly. raw is part of a text that was
// checked by [providers.DecodeJSON].
func parsePix(raw []byte) (payment, error) {
	var in struct {
		EndToEnd string          `json:"endToEndId"`
		TxID     string          `json:"txid"`
		Value    *money.Decimal  `json:"valor"`
		At       string          `json:"horario"`
		Returns  json.RawMessage `json:"devolucoes"`
	}
	if err := json.Unmarshal(raw, &in); err != nil {
		return payment{}, err
	}
	p := payment{endToEnd: in.EndToEnd, txid: in.TxID}
	if !endToEndForm.MatchString(in.EndToEnd) {
		return payment{}, errors.New("endToEndId is missing or malformed")
	}
	if in.Value == nil || *in.Value <= 0 {
		return payment{}, errors.New("valor is missing or not above zero")
	}
	p.amount = money.Amount(*in.Value)
	var err error
	if p.at, err = parseTime(in.At); err != nil {
		return payment{}, fmt.Errorf("horario: %w", err)
	}
	if p.returned, p.returns, err = returned(in.Returns); err != nil {
		return payment{}, fmt.Errorf("devolucoes: %w", err)
	}
	return p, nil
}

// returned lists what was given back, and sums it up; a refund that is listed twice
// counts once, and one without an id in the sum alone. The standard's schema has a list,
// one of its examples a single object.
func returned(raw json.RawMessage) (sum money.Amount, list []providers.Return, err error) {
	type giving struct {
		ID    string         `json:"id"`
		Sent  string         `json:"rtrId"`
		Value *money.Decimal `json:"valor"`
		Word  string         `json:"status"`
	}
	var all []giving
	switch text := strings.TrimSpace(string(raw)); {
	case text == "" || text == "null":
		return 0, nil, nil
	case strings.HasPrefix(text, "{"):
		all = make([]giving, 1)
		err = json.Unmarshal(raw, &all[0])
	default:
		err = json.Unmarshal(raw, &all)
	}
	if err != nil {
		return 0, nil, err
	}
	for _, g := range all {
		if !strings.EqualFold(g.Word, "DEVOLVIDO") {
			continue
		}
		named := isTxID(g.ID, 1)
		switch i := slices.IndexFunc(list, func(r providers.Return) bool { return named && r.ID == g.ID }); {
		case g.Value == nil || *g.Value <= 0:
			return 0, nil, errors.New("valor is missing or not above zero")
		case i >= 0 && list[i].Amount != money.Amount(*g.Value):
			return 0, nil, errors.New("a refund with two amounts")
		case i >= 0:
			continue
		}
		if sum, err = sum.Add(money.Amount(*g.Value)); err != nil {
			return 0, nil, err
		}
		if !endToEndForm.MatchString(g.Sent) {
			g.Sent = ""
		}
		if named {
			list = append(list, providers.Return{ID: g.ID, Sent: g.Sent, Amount: money.Amount(*g.Value)})
		}
	}
	return sum, list, nil
}

func parseTime(text string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil || t.Year() < 1970 || t.Year() > 9999 {
		return time.Time{}, errors.New("missing, or not a time of RFC 3339")
	}
	return t.UTC(), nil
}

// problemKinds classifies the standard's types of problem, as far as a status of
// 400, 404, 409 or 422 leaves open what is meant.
var problemKinds = map[string]providers.Kind{
	"RequisicaoInvalida": providers.Invalid, "CobOperacaoInvalida": providers.Invalid,
	"CobConsultaInvalida": providers.Invalid, "PixConsultaInvalida": providers.Invalid,
	"AcessoNegado":  providers.Forbidden,
	"NaoEncontrado": providers.NotFound, "CobNaoEncontrado": providers.NotFound, "PixNaoEncontrado": providers.NotFound,
	"PixDevolucaoNaoEncontrada": providers.NotFound, "PixDevolucaoInvalida": providers.Invalid,
	"PermanentementeRemovido": providers.NotFound,
}

// parseFailure reads an error body as far as it goes: a problem of RFC 7807
// with the standard's violations, or OAuth's {error, error_description}, or a
// gateway's {message}. The code is the last part of the problem's type. The
// values that violations quote are left out. It never fails; both results may
// be empty. The text is not clean yet.
func parseFailure(body []byte) (code, detail string) {
	var in map[string]any
	if err := providers.DecodeJSON(body, &in); err != nil {
		return "", ""
	}
	text := func(of map[string]any, name string) string {
		s, _ := of[name].(string)
		return s
	}
	code = text(in, "type")
	code = code[strings.LastIndexByte(code, '/')+1:]
	if code == "" || code == "about:blank" {
		code = text(in, "error")
	}
	var parts []string
	add := func(s string) {
		if s != "" && !slices.Contains(parts, s) {
			parts = append(parts, s)
		}
	}
	for _, name := range []string{"title", "detail", "error_description", "message", "mensagem"} {
		add(text(in, name))
	}
	violations, _ := in["violacoes"].([]any)
	for _, v := range violations {
		if v, ok := v.(map[string]any); ok {
			add(strings.Trim(text(v, "propriedade")+": "+text(v, "razao"), ": "))
		}
	}
	return code, strings.Join(parts, "; ")
}
