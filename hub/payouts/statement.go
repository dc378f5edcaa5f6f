package payouts

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/payout"
)

// Operator is a person who may propose, approve, reject and testify.
type Operator struct {
	// Name is 1 to 32 of a-z, 0-9, '.' and '-'.
	Name string
	// Key is the public half of the key that the person signs with.
	Key ed25519.PublicKey
}

// Action is what a statement wants done.
type Action string

// The actions.
const (
	Propose Action = "propose"
	Approve Action = "approve"
	Reject  Action = "reject"
	Resolve Action = "resolve" // testify how it ended
)

// Statement is what an operator signs. Each action uses the fields named at it.
type Statement struct {
	V  int       `json:"v"` // 1
	Do Action    `json:"do"`
	By string    `json:"by"` // the operator's name
	At time.Time `json:"at"` // when it was signed
	// Payout is the id. Who proposes makes it (payout.ID), so that a proposal that
	// is sent twice is one.
	Payout payout.ID `json:"payout"`
	// Digest is what is approved.
	Digest string `json:"digest,omitempty"`
	// Reason is why it is rejected, or what is testified to.
	Reason string `json:"reason,omitempty"`

	// Kind is what is proposed. In a decision it is what the operator takes it for,
	// which must be what it is; those signed by earlier versions leave it out.
	Kind payout.Kind `json:"kind,omitempty"`

	// Of a proposal. Salt is drawn by lot, at least 16 characters; the rest is that
	// of a payout.Intent and payout.Details. Device and Charge name the payment that
	// a refund gives back.
	Route       string       `json:"route,omitempty"`
	Amount      money.Amount `json:"amount,omitempty"` // centavos
	Key         string       `json:"key,omitempty"`
	Description string       `json:"description,omitempty"`
	Salt        string       `json:"salt,omitempty"`
	Device      string       `json:"device,omitempty"`
	Charge      string       `json:"charge,omitempty"`
	EndToEnd    string       `json:"end_to_end,omitempty"`

	// Of a testimony: how it ended, and the end-to-end id or document that shows it.
	State    payout.State `json:"state,omitempty"`
	Document string       `json:"document,omitempty"`
}

// Format prints action, payout and name for every verb: the key that is paid is in
// it.
func (s Statement) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "%s %s by %s", s.Do, s.Payout, s.By)
}

const (
	// domain keeps these signatures from meaning anything else.
	domain = "ssg-hub operator v1\n"
	// MaxStatement is the longest signed statement, in bytes.
	MaxStatement = 8 << 10
	// statementLife is how long after its signing a statement is taken; an approval's
	// is payout.ApprovalLife. ahead is how far the operator's clock may be wrong.
	statementLife = 15 * time.Minute
	ahead         = time.Minute
)

// ErrStatement: a statement is malformed, too old, or not signed by who it says.
var ErrStatement = errors.New("statement refused")

var (
	b64          = base64.RawURLEncoding.Strict()
	operatorForm = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{0,31}$`)
	routeForm    = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,31}$`)
	idForm       = regexp.MustCompile(`^[0-9A-Z]{25}$`)
	digestForm   = regexp.MustCompile(`^[0-9a-f]{64}$`)
	endToEndForm = regexp.MustCompile(`^[A-Za-z0-9]{32}$`)
)

// ValidOperator reports whether a name can be an operator's. "hub" cannot.
func ValidOperator(name string) bool { return operatorForm.MatchString(name) && name != restoredBy }

// ValidRoute reports whether a name can be a route's.
func ValidRoute(name string) bool { return routeForm.MatchString(name) }

// Sign makes the signed form of a statement.
func Sign(s Statement, key ed25519.PrivateKey) (string, error) {
	s.V, s.At = 1, s.At.UTC().Truncate(time.Second)
	if err := s.check(); err != nil {
		return "", err
	}
	body, err := json.Marshal(s)
	if err != nil {
		return "", fmt.Errorf("sign statement: %w", err)
	}
	if len(key) != ed25519.PrivateKeySize {
		return "", errors.New("sign statement: no Ed25519 key")
	}
	return b64.EncodeToString(body) + "." + b64.EncodeToString(ed25519.Sign(key, append([]byte(domain), body...))), nil
}

// open reads a signed statement and checks who signed it. It does not look at the
// time.
func open(signed string, keyOf func(name string) ed25519.PublicKey) (Statement, error) {
	refuse := func(format string, a ...any) (Statement, error) {
		return Statement{}, fmt.Errorf("%w: %s", ErrStatement, fmt.Sprintf(format, a...))
	}
	if len(signed) > MaxStatement {
		return refuse("it is longer than %d bytes", MaxStatement)
	}
	first, second, ok := strings.Cut(signed, ".")
	body, err := b64.DecodeString(first)
	sig, err2 := b64.DecodeString(second)
	if !ok || err != nil || err2 != nil || strings.ContainsAny(signed, "\r\n") {
		return refuse("it is not two parts of base64url")
	}
	var s Statement
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return refuse("it is not a statement of this version")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return refuse("something follows it")
	}
	if err := s.check(); err != nil {
		return Statement{}, err
	}
	key := keyOf(s.By)
	if len(key) != ed25519.PublicKeySize {
		return refuse("%s is no operator of this hub", s.By)
	}
	if !ed25519.Verify(key, append([]byte(domain), body...), sig) {
		return refuse("it is not signed with the key of %s", s.By)
	}
	return s, nil
}

// check looks at the form.
func (s Statement) check() error {
	refuse := func(format string, a ...any) error {
		return fmt.Errorf("%w: %s", ErrStatement, fmt.Sprintf(format, a...))
	}
	switch {
	case s.V != 1:
		return refuse("version %d, want 1", s.V)
	case !ValidOperator(s.By):
		return refuse("an operator's name has 1 to 32 of a-z, 0-9, '.' and '-'")
	case s.At.IsZero():
		return refuse("it does not say when it was signed")
	case !idForm.MatchString(string(s.Payout)):
		return refuse("a payout's id has 25 upper-case letters and digits")
	case len(s.Reason) > 200 || len(s.Document) > 200 || len(s.Description) > 255 || len(s.Key) > 77 || len(s.Salt) > 64:
		return refuse("a text is too long")
	case hasControl(s.Reason + s.Document + s.Description + s.Key + s.Salt + s.Device + s.Charge):
		return refuse("a text holds control characters")
	}
	if own := s.own(); s != own {
		return refuse("it says more than an action %q is about", s.Do)
	}
	switch s.Do {
	case Propose:
		if !routeForm.MatchString(s.Route) || s.Amount <= 0 || len(s.Salt) < 16 {
			return refuse("a proposal names route, amount and salt")
		}
		if s.Kind == payout.Refund && (s.Device == "" || s.Charge == "" || !endToEndForm.MatchString(s.EndToEnd) || s.Key != "") {
			return refuse("a refund names terminal, charge and an end-to-end id of 32 letters and digits, and no key")
		}
		if s.Kind == payout.ToKey && (s.Device != "" || s.Charge != "" || s.EndToEnd != "" || s.Key == "") {
			return refuse("a payout names the key to pay, and no payment")
		}
	case Approve:
		if !digestForm.MatchString(s.Digest) {
			return refuse("an approval names the digest of 64 hex digits that show prints")
		}
	case Reject:
		if s.Reason == "" {
			return refuse("say why it is rejected")
		}
	case Resolve:
		switch s.State {
		case payout.Settled:
			if !endToEndForm.MatchString(s.EndToEnd) {
				return refuse("that money left is shown by its end-to-end id, 32 letters and digits")
			}
		case payout.Failed, payout.Returned:
			if s.Document == "" {
				return refuse("name the document that shows it: a line of the statement, the provider's answer")
			}
		default:
			return refuse("it ended settled, failed or returned")
		}
		if s.Reason == "" {
			return refuse("say how it was found out")
		}
	default:
		return refuse("unknown action %q", s.Do)
	}
	return nil
}

// own is the statement with what its action uses, and nothing else.
func (s Statement) own() Statement {
	own := Statement{V: s.V, Do: s.Do, By: s.By, At: s.At, Payout: s.Payout, Kind: s.Kind}
	switch s.Do {
	case Propose:
		own.Route, own.Amount, own.Key, own.Description, own.Salt = s.Route, s.Amount, s.Key, s.Description, s.Salt
		own.Device, own.Charge, own.EndToEnd = s.Device, s.Charge, s.EndToEnd
	case Approve:
		own.Digest = s.Digest
	case Reject:
		own.Reason = s.Reason
	case Resolve:
		own.State, own.EndToEnd, own.Document, own.Reason = s.State, s.EndToEnd, s.Document, s.Reason
	}
	return own
}

// fresh looks at the time.
func (s Statement) fresh(now time.Time) error {
	life := statementLife
	if s.Do == Approve {
		life = payout.ApprovalLife
	}
	switch {
	case s.At.After(now.Add(ahead)):
		return fmt.Errorf("%w: it was signed at %s, which is not yet: compare the clocks", ErrStatement, s.At.Format(time.RFC3339))
	case now.Sub(s.At) >= life:
		return fmt.Errorf("%w: it was signed at %s and held for %s: sign it again", ErrStatement, s.At.Format(time.RFC3339), life)
	}
	return nil
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\uFFFD' })
}
