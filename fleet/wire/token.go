package wire

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"time"
)

// alg is the one algorithm of this protocol; no token chooses another.
const alg = "EdDSA"

// header is a token's first part: exactly these members.
type header struct {
	Alg string `json:"alg"`
	Typ string `json:"typ"`
	Kid string `json:"kid"`
}

// maxHeader bounds the decoded header, in bytes.
const maxHeader = 256

// b64 is canonical base64url: no padding, no spare bits.
var b64 = base64.RawURLEncoding.Strict()

// KeyID names a public key: the first 16 hex digits of its SHA-256.
func KeyID(pub ed25519.PublicKey) string {
	sum := sha256.Sum256(pub)
	return hex.EncodeToString(sum[:8])
}

// EncodeKey is the text form of a public key for configuration: base64url of
// its 32 bytes, as the member x of a JWK.
func EncodeKey(pub ed25519.PublicKey) string { return b64.EncodeToString(pub) }

// ParseKey reads the text form of a public key.
func ParseKey(text string) (ed25519.PublicKey, error) {
	raw, err := decode64([]byte(text), 64)
	if err != nil || len(raw) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("%w: a key has 43 characters of base64url", ErrMalformed)
	}
	return raw, nil
}

// Signer makes tokens. It prints as its key id, never the key.
type Signer struct {
	kid string
	key ed25519.PrivateKey
}

// NewSigner returns a signer with the hub's private key.
func NewSigner(key ed25519.PrivateKey) (*Signer, error) {
	if len(key) != ed25519.PrivateKeySize {
		return nil, fmt.Errorf("%w: private key of %d bytes", ErrKey, len(key))
	}
	return &Signer{KeyID(key.Public().(ed25519.PublicKey)), key}, nil
}

// Kid is the id of the key.
func (s Signer) Kid() string { return s.kid }

// String is the id of the key.
func (s Signer) String() string { return s.kid }

// Format prints the id of the key whatever the verb.
func (s Signer) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.kid) }

// LogValue logs the id of the key.
func (s Signer) LogValue() slog.Value { return slog.StringValue(s.kid) }

// asToken is the value to sign or to fill; false for a nil pointer.
func asToken(v any) (token, bool) {
	t, ok := v.(token)
	if p := reflect.ValueOf(v); ok && p.Kind() == reflect.Pointer && p.IsNil() {
		return nil, false
	}
	return t, ok
}

// Sign makes a token of an Ack, Pay, ChargeRequest or Payout, which must be of that
// typ. It signs nothing that Open would not take.
//
// Errors: ErrType, ErrMalformed.
func (s Signer) Sign(typ string, claims any) (string, error) {
	t, ok := asToken(claims)
	if !ok || t.typ() != typ {
		return "", fmt.Errorf("sign %T as %s: %w", claims, typ, ErrType)
	}
	t = t.utc()
	if err := t.check(); err != nil {
		return "", fmt.Errorf("sign %s: %w", typ, err)
	}
	head, err := marshal(header{alg, typ, s.kid})
	if err != nil {
		return "", fmt.Errorf("sign %s: %w", typ, err)
	}
	body, err := marshal(t)
	if err != nil {
		return "", fmt.Errorf("sign %s: %w", typ, err)
	}
	out := b64.AppendEncode(nil, head)
	out = b64.AppendEncode(append(out, '.'), body)
	sig := ed25519.Sign(s.key, out)
	out = b64.AppendEncode(append(out, '.'), sig)
	return string(out), nil
}

// Keys are the pinned public keys of the hub by their id. Two are valid at a
// time while one takes over from the other.
type Keys map[string]ed25519.PublicKey

// NewKeys pins one key, or two while one takes over from the other.
func NewKeys(pubs ...ed25519.PublicKey) (Keys, error) {
	k := make(Keys)
	for _, pub := range pubs {
		if len(pub) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("%w: public key of %d bytes", ErrKey, len(pub))
		}
		k[KeyID(pub)] = pub
	}
	if len(k) == 0 || len(k) > MaxKeys {
		return nil, fmt.Errorf("%w: %d keys, want 1 to %d", ErrKey, len(k), MaxKeys)
	}
	return k, nil
}

// Open verifies a token and decodes it into an *Ack, *Pay, *ChargeRequest or *Payout
// of that typ. aud is the device. The times of the token are compared with now
// only if clockTrusted; the counter, which needs no clock, is the caller's to
// check. into is not touched unless everything is right.
//
// Errors: ErrTooLarge, ErrMalformed, ErrAlgorithm, ErrType, ErrKey,
// ErrSignature, ErrAudience, ErrExpired; in this order of checks.
func (k Keys) Open(token []byte, typ, aud string, now time.Time, clockTrusted bool, into any) error {
	if err := k.open(token, typ, aud, now, clockTrusted, into); err != nil {
		return fmt.Errorf("open %s: %w", typ, err)
	}
	return nil
}

func (k Keys) open(raw []byte, typ, aud string, now time.Time, clockTrusted bool, into any) error {
	target := reflect.ValueOf(into)
	if t, ok := asToken(into); !ok || target.Kind() != reflect.Pointer || t.typ() != typ {
		return fmt.Errorf("%w: into %T", ErrType, into)
	}
	if len(raw) > MaxToken {
		return fmt.Errorf("%w: %d bytes", ErrTooLarge, len(raw))
	}
	first, rest, ok1 := bytes.Cut(raw, []byte("."))
	second, third, ok2 := bytes.Cut(rest, []byte("."))
	if !ok1 || !ok2 {
		return fmt.Errorf("%w: not three parts", ErrMalformed)
	}
	head, err := readHeader(first)
	if err != nil {
		return err
	}
	pub, pinned := k[head.Kid]
	switch {
	case head.Alg != alg:
		return fmt.Errorf("%w: alg %.20q", ErrAlgorithm, head.Alg)
	case head.Typ != typ:
		return fmt.Errorf("%w: typ %.20q", ErrType, head.Typ)
	case !pinned || len(pub) != ed25519.PublicKeySize:
		return fmt.Errorf("%w: kid %.20q", ErrKey, head.Kid)
	}
	body, err := decode64(second, MaxToken)
	if err != nil {
		return err
	}
	sig, err := decode64(third, ed25519.SignatureSize)
	if err != nil {
		return err
	}
	if len(sig) != ed25519.SignatureSize {
		return fmt.Errorf("%w: signature of %d bytes", ErrMalformed, len(sig))
	}
	if !ed25519.Verify(pub, raw[:len(first)+1+len(second)], sig) {
		return ErrSignature
	}
	value := reflect.New(target.Type().Elem())
	if err := read(body, value.Interface(), nil); err != nil {
		return err
	}
	t := value.Interface().(token).utc()
	if err := t.check(); err != nil {
		return err
	}
	if err := t.claims().fit(aud, now, clockTrusted); err != nil {
		return err
	}
	target.Elem().Set(reflect.ValueOf(t))
	return nil
}

// fit checks for whom and when.
func (c Claims) fit(aud string, now time.Time, clockTrusted bool) error {
	if c.Aud != aud {
		return fmt.Errorf("%w: aud %.80q", ErrAudience, c.Aud)
	}
	if clockTrusted && (now.Before(c.IssuedAt().Add(-ClockLeeway)) || !now.Before(c.ExpiresAt().Add(ClockLeeway))) {
		return fmt.Errorf("%w: iat %d, exp %d, now %d", ErrExpired, c.Iat, c.Exp, now.Unix())
	}
	return nil
}

// readHeader reads the first part: three strings and nothing else, so that
// there is no header member that could be misunderstood.
func readHeader(part []byte) (header, error) {
	raw, err := decode64(part, maxHeader)
	if err != nil {
		return header{}, err
	}
	var h map[string]string
	if err := read(raw, &h, nil); err != nil {
		return header{}, fmt.Errorf("header: %w", err)
	}
	for name := range h {
		if name != "alg" && name != "typ" && name != "kid" {
			return header{}, fmt.Errorf("%w: header member %s", ErrMalformed, name)
		}
	}
	if len(h) != 3 {
		return header{}, fmt.Errorf("%w: header with %d members", ErrMalformed, len(h))
	}
	return header{h["alg"], h["typ"], h["kid"]}, nil
}

// decode64 decodes canonical base64url of at most limit bytes. The standard
// decoder skips line breaks; a second spelling of a token is what nobody needs.
func decode64(part []byte, limit int) ([]byte, error) {
	if b64.DecodedLen(len(part)) > limit {
		return nil, fmt.Errorf("%w: part of %d characters", ErrMalformed, len(part))
	}
	if bytes.ContainsAny(part, "\r\n") {
		return nil, fmt.Errorf("%w: not base64url", ErrMalformed)
	}
	raw, err := b64.AppendDecode(nil, part)
	if err != nil {
		return nil, fmt.Errorf("%w: not base64url", ErrMalformed)
	}
	return raw, nil
}
