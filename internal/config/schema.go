package config

import (
	"encoding"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ssg-safe/agent/money"
)

var (
	durationType = reflect.TypeFor[time.Duration]()
	sizeType     = reflect.TypeFor[Size]()
	amountType   = reflect.TypeFor[money.Amount]()
	secretType   = reflect.TypeFor[Secret]()
	textType     = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// field is what the tags of a struct field say.
type field struct {
	index        int
	name         string
	typ          reflect.Type
	def          string
	hasDefault   bool
	required     bool
	example      string
	oneOf        []string
	least, most  string
	masked       bool
	whole        bool // of secrets: a file of any content
	inline       bool // of secrets: it may be written into the file
	table        bool // a struct or a pointer to one
	tables, list bool // slices of structs, of strings
}

// fieldsOf lists the fields of a struct that have a key.
func fieldsOf(t reflect.Type) []field {
	var fields []field
	for i := range t.NumField() {
		sf := t.Field(i)
		name := sf.Tag.Get("toml")
		if name == "" {
			continue
		}
		f := field{
			index: i, name: name, typ: sf.Type,
			required: sf.Tag.Get("required") == "true",
			example:  sf.Tag.Get("example"),
			oneOf:    strings.Fields(sf.Tag.Get("oneof")),
			least:    sf.Tag.Get("min"),
			most:     sf.Tag.Get("max"),
			masked:   sf.Tag.Get("mask") == "true" || strings.HasSuffix(sf.Type.PkgPath(), "/redact") || sf.Type == secretType,
		}
		f.whole, f.inline = sf.Tag.Get("whole") == "true", sf.Tag.Get("inline") == "true"
		f.def, f.hasDefault = sf.Tag.Lookup("default")
		switch {
		case isLeaf(sf.Type):
		case structOf(sf.Type) != nil:
			f.table = true
		case sf.Type.Kind() == reflect.Slice && structOf(sf.Type.Elem()) != nil:
			f.tables = true
		case sf.Type.Kind() == reflect.Slice && sf.Type.Elem().Kind() == reflect.String:
			f.list = true
		default:
			panic(fmt.Sprintf("config: field %s of %s has a type that cannot be decoded", sf.Name, t))
		}
		fields = append(fields, f)
	}
	return fields
}

// isLeaf reports whether a type is decoded from one value.
func isLeaf(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.String, reflect.Bool, reflect.Int, reflect.Int64:
		return true
	}
	return t == secretType || reflect.PointerTo(t).Implements(textType)
}

// structOf is the struct that a type is or points at, nil for other types.
func structOf(t reflect.Type) reflect.Type {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() == reflect.Struct {
		return t
	}
	return nil
}

// Defaults sets every field of the struct that dst points at, and of the
// structs in it, to its default; slices and pointers become nil.
func Defaults(dst any) {
	v := reflect.ValueOf(dst)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		panic("config: the destination must be a pointer to a struct")
	}
	setDefaults(v.Elem())
}

func setDefaults(v reflect.Value) {
	for _, f := range fieldsOf(v.Type()) {
		fv := v.Field(f.index)
		fv.SetZero()
		switch {
		case f.table && fv.Kind() == reflect.Struct:
			setDefaults(fv)
		case f.hasDefault:
			if err := setText(fv, f, f.def); err != nil {
				panic(fmt.Sprintf("config: default of %s: %v", f.name, err))
			}
		}
	}
}

// setText sets a leaf from text, of a file's string or of a default tag.
func setText(v reflect.Value, f field, text string) error {
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return u.UnmarshalText([]byte(text))
	}
	switch v.Type() {
	case durationType:
		d, err := ParseDuration(text)
		v.SetInt(int64(d))
		return err
	case sizeType:
		s, err := ParseSize(text)
		v.SetInt(int64(s))
		return err
	case amountType:
		a, err := parseAmount(text)
		v.SetInt(int64(a))
		return err
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
		return nil
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		v.SetBool(b)
		return err
	case reflect.Int, reflect.Int64:
		n, err := strconv.ParseInt(text, 10, 64)
		v.SetInt(n)
		return err
	}
	panic(fmt.Sprintf("config: %s has no text form", f.name))
}

// outside says how a value breaks the limits of its field; empty when it keeps
// them.
func (f field) outside(v reflect.Value) (complaint, remedy string) {
	if len(f.oneOf) > 0 && v.Kind() == reflect.String {
		for _, w := range f.oneOf {
			if v.String() == w {
				return "", ""
			}
		}
		remedy = fmt.Sprintf("write one of: %s", strings.Join(f.oneOf, ", "))
		if near := nearest(v.String(), f.oneOf); near != "" {
			remedy = fmt.Sprintf("did you mean %q? %s", near, remedy)
		}
		return fmt.Sprintf("%q is not known here", clip(v.String())), remedy
	}
	switch {
	case f.least != "" && f.measure(v) < f.limit(f.least):
		return f.tooFar("least", f.least), f.limits("add to it")
	case f.most != "" && f.measure(v) > f.limit(f.most):
		return f.tooFar("most", f.most), f.limits("shorten it")
	}
	return "", ""
}

// limits is the remedy of a value outside of them; of text and lists it is the
// one given.
func (f field) limits(otherwise string) string {
	if f.list || f.tables || f.typ.Kind() == reflect.String {
		return otherwise
	}
	switch {
	case f.least == "" && f.most == "":
		return "write a number of at most 18 digits"
	case f.least == "":
		return "write a value up to " + f.most
	case f.most == "":
		return "write a value from " + f.least + " on"
	}
	return fmt.Sprintf("write a value from %s to %s", f.least, f.most)
}

func (f field) tooFar(word, limit string) string {
	switch {
	case f.typ == amountType:
		a, _ := parseAmount(limit) // limit() parsed it
		return fmt.Sprintf("must be at %s %s", word, a.BRL())
	case f.list || f.tables:
		return fmt.Sprintf("must have at %s %s entries", word, limit)
	case f.typ.Kind() == reflect.String:
		return fmt.Sprintf("must have at %s %s characters", word, limit)
	}
	return fmt.Sprintf("must be at %s %s", word, limit)
}

func (f field) measure(v reflect.Value) int64 {
	switch v.Kind() {
	case reflect.String:
		return int64(utf8.RuneCountInString(v.String()))
	case reflect.Slice:
		return int64(v.Len())
	}
	return v.Int()
}

func (f field) limit(text string) int64 {
	v := reflect.New(reflect.TypeFor[int64]()).Elem()
	switch f.typ {
	case durationType, sizeType, amountType:
		v = reflect.New(f.typ).Elem()
	}
	if err := setText(v, f, text); err != nil {
		panic(fmt.Sprintf("config: limit of %s: %v", f.name, err))
	}
	return v.Int()
}

// wants names what a field is written as.
func (f field) wants() string {
	switch {
	case f.table:
		return "a table"
	case f.tables:
		return "a list of tables"
	case f.list:
		return "a list of text"
	case f.typ == durationType:
		return "a duration in quotes"
	case f.typ == sizeType:
		return "a size in quotes"
	case f.typ == amountType:
		return "an amount"
	case f.typ.Kind() == reflect.Bool:
		return "true or false"
	case isPlainInt(f):
		return "a whole number"
	}
	return "text in quotes"
}

// nearest is the known name that was probably meant, or nothing.
func nearest(name string, known []string) string {
	best, least := "", max(1, len(name)/3)+1
	for _, k := range known {
		if d := distance(strings.ToLower(name), strings.ToLower(k)); d < least {
			best, least = k, d
		}
	}
	return best
}

// distance is the number of letters to insert, leave out, replace or swap with
// their neighbour.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return len(a) + len(b)
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
