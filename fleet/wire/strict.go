package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"unicode/utf8"
)

// marshal is JSON without white space and without escapes that only HTML needs.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// member is what a struct says about one JSON member.
type member struct {
	typ      reflect.Type
	optional bool
}

var memberCache sync.Map // reflect.Type -> map[string]member

// membersOf returns the members of a struct, embedded ones included. A member
// with omitempty or omitzero is optional.
func membersOf(t reflect.Type) map[string]member {
	if m, ok := memberCache.Load(t); ok {
		return m.(map[string]member)
	}
	m := make(map[string]member)
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			for inner, of := range membersOf(f.Type) {
				m[inner] = of
			}
		case name != "-" && name != "":
			m[name] = member{f.Type, strings.Contains(options, "omit")}
		}
	}
	memberCache.Store(t, m)
	return m
}

// read decodes one JSON object into a struct by the rule in the package
// comment. version, when not nil, is called between the checks that hold for
// every version and those of this one.
func read(raw []byte, into any, version func() error) error {
	if !utf8.Valid(raw) {
		return fmt.Errorf("%w: not UTF-8", ErrMalformed)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	r := reader{d: d}
	t := reflect.TypeOf(into).Elem()
	if err := r.value(t, 0); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if version != nil {
		if err := version(); err != nil {
			return err
		}
	}
	if r.missing != "" {
		return fmt.Errorf("%w: %s is missing", ErrMalformed, r.missing)
	}
	// This also refuses what stands behind the object.
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return nil
}

// reader walks over a text beside the type that it is meant for.
type reader struct {
	d       *json.Decoder
	missing string // the first required member that is not there
}

// value reads the next value. t is nil where anything may stand.
func (r *reader) value(t reflect.Type, depth int) error {
	token, err := r.d.Token()
	if err != nil {
		return err
	}
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch token := token.(type) {
	case nil:
		return fmt.Errorf("null")
	case json.Delim:
		if depth++; depth > MaxDepth {
			return fmt.Errorf("nested deeper than %d", MaxDepth)
		}
		if token == '{' {
			return r.object(t, depth)
		}
		return r.array(t, depth)
	default:
		if depth == 0 {
			return fmt.Errorf("not an object")
		}
		return nil
	}
}

func (r *reader) object(t reflect.Type, depth int) error {
	var known map[string]member
	var each reflect.Type
	if t != nil {
		switch t.Kind() {
		case reflect.Struct:
			known = membersOf(t)
		case reflect.Map:
			each = t.Elem()
		}
	}
	seen := make(map[string]bool)
	for r.d.More() {
		token, err := r.d.Token()
		if err != nil {
			return err
		}
		name, ok := token.(string)
		if !ok {
			return fmt.Errorf("a member without a name")
		}
		if !validName(name) {
			return fmt.Errorf("member %.80q", name)
		}
		if seen[name] {
			return fmt.Errorf("member %s comes twice", name)
		}
		seen[name] = true
		inner := each
		if m, ok := known[name]; ok {
			inner = m.typ
		}
		if err := r.value(inner, depth); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	for name, m := range known {
		if !m.optional && !seen[name] && (r.missing == "" || name < r.missing) {
			r.missing = name
		}
	}
	_, err := r.d.Token()
	return err
}

func (r *reader) array(t reflect.Type, depth int) error {
	var each reflect.Type
	if t != nil && t.Kind() == reflect.Slice {
		each = t.Elem()
	}
	for r.d.More() {
		if err := r.value(each, depth); err != nil {
			return err
		}
	}
	_, err := r.d.Token()
	return err
}

// validName keeps out what decoders read differently: encoding/json, for one,
// takes "AUD" and "aud" for the same.
func validName(s string) bool {
	if len(s) == 0 || len(s) > MaxID {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && c != '.' {
			return false
		}
	}
	return true
}
