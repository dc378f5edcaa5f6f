// Package pin hashes the PINs by which operators open the menu of a terminal.
//
//	h, err := pin.New("407193")  // argon2id, a salt of its own
//	text := h.PHC()              // for the configuration
//	h, err = pin.Parse(text)
//	h.Verify("407193")           // true
//
// A PIN has few digits: who reads the hash tries all of them on a computer within
// hours, whatever the hash. So the hash is a secret as well, and prints masked;
// what keeps people at the keypad from guessing is the growing delay of package
// operator.
//
// Values are immutable and safe for concurrent use.
package pin

import (
	"bytes"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"

	"github.com/ssg-safe/agent/redact"
)

// What New uses. 12 MiB three times over is one of the equivalent settings that
// OWASP's Password Storage Cheat Sheet recommends. It leaves the 512 MB of a small
// board alone; 32-bit code takes 0.14 s for it on a PC, so that a second or two is
// to be expected of an ARMv6 at 1 GHz.
const (
	memory = 12 << 10 // KiB
	passes = 3
	lanes  = 1
	salted = 16 // bytes of salt
	keyed  = 32 // bytes of key
)

// The bounds of what Parse takes. More would keep a board busy for minutes, or
// take memory that it does not have.
const (
	maxMemory = 64 << 10 // KiB
	maxWork   = 256 << 10
	maxLanes  = 4
	minBytes  = 8
	maxBytes  = 64
	maxText   = 512
)

// The least that OWASP recommends: 7 MiB, and 35 MiB over all passes.
const (
	leastMemory = 7 << 10
	leastWork   = 35 << 10
)

// Hash is the argon2id hash of a PIN. It prints "[secret]"; the zero value fits
// no PIN.
type Hash struct {
	memory, passes uint32 // KiB; over them
	lanes          uint8
	salt, key      []byte
}

// New hashes a PIN with a salt of its own. The error is [Check]'s.
func New(pin redact.Secret) (Hash, error) {
	if err := Check(pin); err != nil {
		return Hash{}, err
	}
	h := Hash{memory: memory, passes: passes, lanes: lanes, salt: make([]byte, salted)}
	rand.Read(h.salt) // never fails
	h.key = h.derive(pin, keyed)
	return h, nil
}

func (h Hash) derive(pin redact.Secret, n int) []byte {
	return argon2.IDKey([]byte(pin.Reveal()), h.salt, h.passes, h.memory, h.lanes, uint32(n))
}

// Verify reports whether the hash is of this PIN. It takes as long as the hash
// asks for, up to seconds on a small board, and as much memory; it compares in
// constant time. Whoever calls it keeps others from doing so meanwhile.
func (h Hash) Verify(pin redact.Secret) bool {
	if len(h.key) == 0 {
		return false
	}
	return subtle.ConstantTimeCompare(h.derive(pin, len(h.key)), h.key) == 1
}

// Decoy is a hash that fits no PIN and takes as long as those of [New].
func Decoy() Hash {
	return Hash{memory: memory, passes: passes, lanes: lanes, salt: make([]byte, salted), key: make([]byte, keyed)}
}

// Weak says why the hash is easier to try than it should be; "" if it is not.
func (h Hash) Weak() string {
	if h.memory < leastMemory || h.memory*h.passes < leastWork {
		return fmt.Sprintf("m=%d,t=%d is less than m=%d,t=%d", h.memory, h.passes, leastMemory, leastWork/leastMemory)
	}
	return ""
}

// PHC is the hash in the PHC string format, "$argon2id$v=19$m=…,t=…,p=…$salt$key":
// a secret.
func (h Hash) PHC() redact.Secret {
	b64 := base64.RawStdEncoding.EncodeToString
	return redact.Secret(fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, h.memory, h.passes, h.lanes, b64(h.salt), b64(h.key)))
}

// Equal reports whether two hashes are the same text.
func (h Hash) Equal(o Hash) bool {
	return h.memory == o.memory && h.passes == o.passes && h.lanes == o.lanes && bytes.Equal(h.salt, o.salt) && bytes.Equal(h.key, o.key)
}

// ErrFormat: not the argon2id hash of a PIN. The text that wraps it says what is
// wrong and repeats nothing of the hash.
var ErrFormat = errors.New("no argon2id hash in PHC form")

func malformed(what string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrFormat, fmt.Sprintf(what, args...))
}

// Parse reads a hash in the PHC string format as PHC writes it, and refuses one
// that a small board could not verify.
func Parse(phc redact.Secret) (Hash, error) {
	text := phc.Reveal()
	if len(text) > maxText {
		return Hash{}, malformed("it is longer than %d characters", maxText)
	}
	part := strings.Split(text, "$")
	if len(part) != 6 || part[0] != "" {
		return Hash{}, malformed("it is not $argon2id$v=19$m=…,t=…,p=…$salt$key")
	}
	if part[1] != "argon2id" {
		return Hash{}, malformed("it is of another kind than argon2id")
	}
	if part[2] != "v="+strconv.Itoa(argon2.Version) {
		return Hash{}, malformed("its version is not %d", argon2.Version)
	}
	cost := strings.Split(part[3], ",")
	if len(cost) != 3 {
		return Hash{}, malformed("its parameters are not m, t and p")
	}
	m, err := parameter(cost[0], "m", 8, maxMemory)
	if err != nil {
		return Hash{}, err
	}
	t, err := parameter(cost[1], "t", 1, maxWork/8)
	if err != nil {
		return Hash{}, err
	}
	p, err := parameter(cost[2], "p", 1, maxLanes)
	if err != nil {
		return Hash{}, err
	}
	switch {
	case m < 8*p:
		return Hash{}, malformed("m is less than 8 for each of p")
	case m*t > maxWork:
		return Hash{}, malformed("m times t is more than %d: a terminal would be busy for minutes", maxWork)
	}
	salt, err := decode(part[4], "salt")
	if err != nil {
		return Hash{}, err
	}
	key, err := decode(part[5], "key")
	if err != nil {
		return Hash{}, err
	}
	return Hash{memory: uint32(m), passes: uint32(t), lanes: uint8(p), salt: salt, key: key}, nil
}

// parameter reads "name=number" in its only spelling.
func parameter(text, name string, lowest, highest int) (int, error) {
	digits, ok := strings.CutPrefix(text, name+"=")
	n, err := strconv.Atoi(digits)
	if !ok || err != nil || strconv.Itoa(n) != digits {
		return 0, malformed("its parameters are not m, t and p")
	}
	if n < lowest || n > highest {
		return 0, malformed("%s is not between %d and %d", name, lowest, highest)
	}
	return n, nil
}

func decode(text, what string) ([]byte, error) {
	raw, err := base64.RawStdEncoding.Strict().DecodeString(text)
	switch {
	case err != nil || strings.ContainsAny(text, "\r\n"):
		return nil, malformed("its %s is not base64 without padding", what)
	case len(raw) < minBytes || len(raw) > maxBytes:
		return nil, malformed("its %s has not %d to %d bytes", what, minBytes, maxBytes)
	}
	return raw, nil
}

// String returns the mask.
func (h Hash) String() string { return redact.Secret(" ").String() }

// GoString returns the mask.
func (h Hash) GoString() string { return h.String() }

// Format writes the mask for every verb.
func (h Hash) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, h.String()) }

// LogValue returns the mask.
func (h Hash) LogValue() slog.Value { return slog.StringValue(h.String()) }
