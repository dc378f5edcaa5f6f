package fleet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/ssg-safe/agent/fleet/wire"
)

// Mapping reads the status messages of a fleet that runs other software. They
// are not signed, so they prove nothing: each that matches is a hint to ask the
// provider about the charge.
type Mapping struct {
	// Topic that the messages come on, such as acme/{device}/pix/{charge}/status.
	// {device} stands for Options.Device; {charge}, a whole level, for a charge;
	// a level + for anything.
	Topic string
	// Charge is the JSON pointer (RFC 6901) to the charge's id in the message.
	// Empty: the topic has {charge}.
	Charge string
	// Status is the JSON pointer to the status word. Empty: every message is a
	// hint.
	Status string
	// Words are the status words that are worth asking for, upper and lower case
	// alike.
	Words []string
}

// Bounds of a mapping.
const (
	maxLevels  = 16
	maxWords   = 32
	maxForeign = wire.MaxPacket
)

// Validate names every problem of the mapping.
func (m *Mapping) Validate() error {
	var errs []error
	levels := strings.Split(m.Topic, "/")
	charges := 0
	for _, level := range levels {
		switch {
		case level == "{charge}":
			charges++
		case level == "+":
		case strings.ContainsAny(level, "+#\x00") || strings.ContainsAny(strings.ReplaceAll(level, "{device}", ""), "{}"):
			errs = append(errs, fmt.Errorf("mapping: topic level %.80q: only {device}, and {charge} or + as a whole level", level))
		}
	}
	switch {
	case m.Topic == "" || len(levels) > maxLevels || len(m.Topic) > wire.MaxTopic:
		errs = append(errs, fmt.Errorf("mapping: topic %.80q has %d levels, 1 to %d are possible", m.Topic, len(levels), maxLevels))
	case strings.HasPrefix(m.Topic, "fleet/") || strings.HasPrefix(m.Topic, "$") || levels[0] == "+" || levels[0] == "{charge}":
		errs = append(errs, fmt.Errorf("mapping: topic %.80q must begin with a name of its own", m.Topic))
	case charges > 1:
		errs = append(errs, fmt.Errorf("mapping: topic %.80q has {charge} twice", m.Topic))
	case charges == 0 && m.Charge == "":
		errs = append(errs, errors.New("mapping: neither the topic nor charge says which charge it is"))
	}
	for _, p := range []struct{ name, text string }{{"charge", m.Charge}, {"status", m.Status}} {
		if _, err := pointer(p.text); err != nil {
			errs = append(errs, fmt.Errorf("mapping: %s: %w", p.name, err))
		}
	}
	if (m.Status == "") != (len(m.Words) == 0) || len(m.Words) > maxWords {
		errs = append(errs, fmt.Errorf("mapping: %d status words with pointer %q; up to %d, and both or none", len(m.Words), m.Status, maxWords))
	}
	return errors.Join(errs...)
}

// filter is what to subscribe to.
func (m *Mapping) filter(device string) string {
	return strings.ReplaceAll(strings.ReplaceAll(m.Topic, "{device}", device), "{charge}", "+")
}

// match reports whether a topic is one of the mapping's, and the charge in it.
func (m *Mapping) match(device, topic string) (charge string, ok bool) {
	want := strings.Split(m.Topic, "/")
	got := strings.Split(topic, "/")
	if len(got) != len(want) {
		return "", false
	}
	for i, level := range want {
		switch level {
		case "{charge}":
			charge = got[i]
		case "+":
		default:
			if strings.ReplaceAll(level, "{device}", device) != got[i] {
				return "", false
			}
		}
	}
	return charge, true
}

// errForeign: a message that the mapping cannot read.
var errForeign = errors.New("not a message of this mapping")

// read returns the charge that a message calls settled; "" when it says
// something else.
func (m *Mapping) read(inTopic string, payload []byte) (charge string, err error) {
	charge = inTopic
	if m.Charge != "" || m.Status != "" {
		if len(payload) > maxForeign {
			return "", fmt.Errorf("%w: %d bytes", errForeign, len(payload))
		}
		d := json.NewDecoder(bytes.NewReader(payload))
		d.UseNumber()
		var doc any
		if err := d.Decode(&doc); err != nil {
			return "", fmt.Errorf("%w: no JSON", errForeign)
		}
		if _, err := d.Token(); !errors.Is(err, io.EOF) {
			return "", fmt.Errorf("%w: more than one JSON text", errForeign)
		}
		if m.Status != "" {
			word, ok := find(doc, m.Status)
			if !ok {
				return "", fmt.Errorf("%w: no status", errForeign)
			}
			if !m.settled(word) {
				return "", nil
			}
		}
		if m.Charge != "" {
			var ok bool
			if charge, ok = find(doc, m.Charge); !ok {
				return "", fmt.Errorf("%w: no charge", errForeign)
			}
		}
	}
	if !validCharge(charge) {
		return "", fmt.Errorf("%w: charge %.80q", errForeign, charge)
	}
	return charge, nil
}

func (m *Mapping) settled(word string) bool {
	for _, w := range m.Words {
		if strings.EqualFold(w, word) {
			return true
		}
	}
	return false
}

// validCharge: what a charge's name could be, which is an id of fleet/wire.
func validCharge(s string) bool {
	if s == "" || len(s) > wire.MaxID {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("._:/@+#=-", rune(c)) {
			return false
		}
	}
	return true
}

// pointer splits a JSON pointer (RFC 6901); "" has no parts.
func pointer(text string) ([]string, error) {
	if text == "" {
		return nil, nil
	}
	if text[0] != '/' || len(text) > wire.MaxText {
		return nil, fmt.Errorf("%.80q is no JSON pointer", text)
	}
	parts := strings.Split(text[1:], "/")
	for i, part := range parts {
		for j := 0; j < len(part); j++ {
			if part[j] == '~' && (j+1 == len(part) || part[j+1] != '0' && part[j+1] != '1') {
				return nil, fmt.Errorf("%.80q is no JSON pointer", text)
			}
		}
		parts[i] = strings.ReplaceAll(strings.ReplaceAll(part, "~1", "/"), "~0", "~")
	}
	return parts, nil
}

// find returns the string, number or boolean that a pointer names.
func find(doc any, text string) (string, bool) {
	parts, err := pointer(text)
	if err != nil {
		return "", false
	}
	for _, part := range parts {
		switch v := doc.(type) {
		case map[string]any:
			var ok bool
			if doc, ok = v[part]; !ok {
				return "", false
			}
		case []any:
			i, err := strconv.Atoi(part)
			if err != nil || i < 0 || i >= len(v) || strconv.Itoa(i) != part {
				return "", false
			}
			doc = v[i]
		default:
			return "", false
		}
	}
	switch v := doc.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool:
		return strconv.FormatBool(v), true
	}
	return "", false
}
