package localapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/pix"
	"github.com/ssg-safe/agent/redact"
)

// field reads one value into its place; the error says what it must be.
type field func(raw json.RawMessage) error

// decodeObject reads one JSON object strictly. Package encoding/json takes a
// key twice, takes "AMOUNT" for "amount", and mends broken text; here none of
// that is a request. All fields are judged, so that a caller learns everything
// at once.
func decodeObject(data []byte, fields map[string]field, required ...string) error {
	if !utf8.Valid(data) {
		return refuse(BadRequest, "the body is not UTF-8")
	}
	in := json.NewDecoder(bytes.NewReader(data))
	if t, err := in.Token(); err != nil || t != json.Delim('{') {
		return refuse(BadRequest, "the body is not a JSON object")
	}
	seen := map[string]bool{}
	var wrong []FieldProblem
	for in.More() {
		t, err := in.Token()
		if err != nil {
			return malformed(in, err)
		}
		key, ok := t.(string)
		if !ok {
			return refuse(BadRequest, "the body is not a JSON object")
		}
		var raw json.RawMessage
		if err := in.Decode(&raw); err != nil {
			return malformed(in, err)
		}
		switch read := fields[key]; {
		case seen[key]:
			wrong = append(wrong, FieldProblem{key, "is there twice"})
		case read == nil:
			wrong = append(wrong, FieldProblem{clip(key), "is not known; there are: " + strings.Join(names(fields), ", ")})
		default:
			wrong = appendProblem(wrong, key, read(raw))
		}
		seen[key] = true
	}
	if _, err := in.Token(); err != nil {
		return malformed(in, err)
	}
	if _, err := in.Token(); !errors.Is(err, io.EOF) {
		return refuse(BadRequest, "there is something behind the JSON object")
	}
	for _, name := range required {
		if !seen[name] {
			wrong = append(wrong, FieldProblem{name, "is missing"})
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	r := refuse(Invalid, "%s %s", wrong[0].Field, wrong[0].Problem)
	r.Fields = wrong
	return r
}

// appendProblem notes what is wrong with a value; the fields of an object in it
// are named by their path.
func appendProblem(wrong []FieldProblem, key string, err error) []FieldProblem {
	if r, ok := errors.AsType[*Refusal](err); ok && len(r.Fields) > 0 {
		for _, f := range r.Fields {
			wrong = append(wrong, FieldProblem{key + "." + f.Field, f.Problem})
		}
		return wrong
	}
	if err != nil {
		wrong = append(wrong, FieldProblem{key, err.Error()})
	}
	return wrong
}

func malformed(in *json.Decoder, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return refuse(BadRequest, "the JSON object has no end")
	}
	return refuse(BadRequest, "the body is not JSON at byte %d", in.InputOffset())
}

func names(fields map[string]field) []string {
	var list []string
	for name := range fields {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

// clip keeps foreign text in messages short.
func clip(s string) string {
	if utf8.RuneCountInString(s) > 40 {
		return string([]rune(s)[:40]) + "…"
	}
	return s
}

// text reads a string of limited length without control characters, and gives
// it to use, which may refuse it.
func text(most int, use func(string) error) field {
	return func(raw json.RawMessage) error {
		var s *string
		if err := json.Unmarshal(raw, &s); err != nil || s == nil {
			return errors.New("must be text")
		}
		switch n := utf8.RuneCountInString(*s); {
		case n == 0:
			return errors.New("is empty; leave it out")
		case n > most:
			return fmt.Errorf("has %d characters, at most %d", n, most)
		case strings.ContainsFunc(*s, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }):
			return errors.New("has characters that cannot be printed")
		}
		return use(*s)
	}
}

// matching is a use of text that has a form.
func matching[T ~string](into *T, form *regexp.Regexp, want string) func(string) error {
	return func(s string) error {
		if !form.MatchString(s) {
			return errors.New("must be " + want)
		}
		*into = T(s)
		return nil
	}
}

// keep is a use of any text.
func keep[T ~string](into *T) func(string) error {
	return func(s string) error { *into = T(s); return nil }
}

var (
	wholeNumber   = regexp.MustCompile(`^(0|[1-9][0-9]{0,14})$`)
	referenceForm = regexp.MustCompile(`^[A-Za-z0-9._:/@+#=-]{1,64}$`)
	merchantForm  = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)
	emailForm     = regexp.MustCompile(`^[^@\s]+@[^@\s]+$`)
	stateForm     = regexp.MustCompile(`^[A-Z]{2}$`)
	postcodeForm  = regexp.MustCompile(`^[0-9]{8}$`)
	checkoutForm  = regexp.MustCompile(`^[A-Za-z0-9_-]{16,256}$`)
	chargeForm    = regexp.MustCompile(`^[A-Z0-9]{25}$`)
	positionForm  = regexp.MustCompile(`^([0-9]{1,15}):([0-9]{1,15})$`)
)

// whole reads a number without a point, sign or exponent.
func whole(raw json.RawMessage, want string) (int64, error) {
	if !wholeNumber.Match(raw) {
		return 0, errors.New("must be " + want)
	}
	return strconv.ParseInt(string(raw), 10, 64)
}

// centavos is a field with an amount that is not zero.
func centavos(into *money.Amount) field {
	return func(raw json.RawMessage) error {
		n, err := whole(raw, "whole centavos: 1500 for R$ 15,00")
		if err == nil && n == 0 {
			err = errors.New("is zero")
		}
		*into = money.Amount(n)
		return err
	}
}

// How long a code may be payable, as in the configuration.
const (
	MinExpiry = 10 * time.Second
	MaxExpiry = 24 * time.Hour
)

// decodeOrder reads the body of a request for a charge.
func decodeOrder(body []byte) (Order, error) {
	o := Order{Present: PresentAlways}
	err := decodeObject(body, map[string]field{
		"reference":   text(64, matching(&o.Reference, referenceForm, "letters, digits and . _ : / @ + # = -")),
		"amount":      centavos(&o.Amount),
		"merchant":    text(32, matching(&o.Merchant, merchantForm, "the id of a configured merchant")),
		"description": text(140, keep(&o.Description)),
		"expiry_seconds": func(raw json.RawMessage) error {
			least, most := int64(MinExpiry/time.Second), int64(MaxExpiry/time.Second)
			want := fmt.Sprintf("whole seconds from %d to %d", least, most)
			n, err := whole(raw, want)
			if err == nil && (n < least || n > most) {
				err = errors.New("must be " + want)
			}
			o.Expiry = time.Duration(n) * time.Second
			return err
		},
		"present": text(10, func(s string) error {
			o.Present = Presence(s)
			if !slices.Contains(presences, o.Present) {
				return errors.New(`must be "always", "if_free" or "never"`)
			}
			return nil
		}),
		"checkout": text(256, matching(&o.Checkout, checkoutForm, "the token of a checkout: 16 to 256 letters, digits, - and _")),
		"payer": func(raw json.RawMessage) (err error) {
			o.Payer, err = decodePayer(raw)
			return err
		},
	}, "reference", "amount")
	return o, err
}

func decodePayer(raw json.RawMessage) (p Payer, err error) {
	err = decodeObject(raw, map[string]field{
		"name": text(255, keep(&p.Name)),
		"document": text(14, func(s string) error {
			if !pix.ValidCPF(s) && !pix.ValidCNPJ(s) {
				return errors.New("must be a CPF or CNPJ without punctuation")
			}
			p.Document = redact.Document(s)
			return nil
		}),
		"email":    text(255, matching(&p.Email, emailForm, "an e-mail address")),
		"address":  text(255, keep(&p.Address)),
		"district": text(255, keep(&p.District)),
		"city":     text(255, keep(&p.City)),
		"state":    text(2, matching(&p.State, stateForm, "two capital letters")),
		"postcode": text(8, matching(&p.Postcode, postcodeForm, "eight digits")),
	})
	if r, ok := errors.AsType[*Refusal](err); ok && r.Code == BadRequest {
		return p, errors.New("must be an object")
	}
	return p, err
}

// decodeJobs reads which jobs are to be settled; none are all dead letters.
func decodeJobs(body []byte) (ids []uint64, err error) {
	dead := false
	err = decodeObject(body, map[string]field{
		"jobs": func(raw json.RawMessage) error {
			var list []json.RawMessage
			if err := json.Unmarshal(raw, &list); err != nil || len(list) == 0 || len(list) > maxPage {
				return fmt.Errorf("must be 1 to %d numbers of jobs", maxPage)
			}
			for _, item := range list {
				n, err := whole(item, "numbers of jobs")
				if err != nil {
					return err
				}
				ids = append(ids, uint64(n))
			}
			return nil
		},
		"dead": func(raw json.RawMessage) error {
			if dead = string(raw) == "true"; !dead {
				return errors.New("must be true, or be left out")
			}
			return nil
		},
	})
	if err == nil && dead == (len(ids) > 0) {
		err = refuse(Invalid, `name jobs: {"jobs":[12]}, or say {"dead":true} for all dead letters`)
	}
	return ids, err
}

// decodePosition reads "epoch:seq".
func decodePosition(s string) (p ledger.Position, ok bool) {
	m := positionForm.FindStringSubmatch(s)
	if m == nil {
		return p, false
	}
	p.Epoch, _ = strconv.ParseUint(m[1], 10, 64) // fifteen digits fit
	p.Seq, _ = strconv.ParseUint(m[2], 10, 64)
	return p, true
}

// encodePosition writes it.
func encodePosition(p ledger.Position) string { return fmt.Sprintf("%d:%d", p.Epoch, p.Seq) }

// query reads the parameters of a request, of which only the known ones may be
// there, once each.
func query(u *url.URL, known ...string) (url.Values, error) {
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, refuse(BadRequest, "the query is malformed")
	}
	for name, values := range q {
		switch {
		case !slices.Contains(known, name):
			return nil, refuse(BadRequest, "the parameter %q is not known here", clip(name))
		case len(values) > 1:
			return nil, refuse(BadRequest, "the parameter %q is there twice", name)
		}
	}
	return q, nil
}
