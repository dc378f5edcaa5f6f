package localapi_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"
)

// The contract, docs/openapi.yaml, read and applied.

type object = map[string]any

var contract = sync.OnceValues(func() (object, error) {
	raw, err := os.ReadFile("../docs/openapi.yaml")
	if err != nil {
		return nil, err
	}
	r := &yamlReader{}
	for i, line := range strings.Split(string(raw), "\n") {
		text := strings.TrimLeft(line, " ")
		r.lines = append(r.lines, yamlLine{len(line) - len(text), text, i + 1})
	}
	return r.document()
})

// yamlReader reads the part of YAML that the contract is written in: block
// maps and lists, literal text, lists of words on one line.
type yamlReader struct {
	lines []yamlLine
	err   error
}

type yamlLine struct {
	indent int
	text   string
	number int
}

func (r *yamlReader) document() (object, error) {
	doc, _ := r.block(0).(object)
	if r.skip(); r.err == nil && len(r.lines) > 0 {
		r.fail("is indented oddly")
	}
	return doc, r.err
}

func (r *yamlReader) fail(why string) {
	if r.err == nil && len(r.lines) > 0 {
		r.err = fmt.Errorf("docs/openapi.yaml:%d: %s", r.lines[0].number, why)
	}
	r.lines = nil
}

func (r *yamlReader) skip() {
	for len(r.lines) > 0 && (r.lines[0].text == "" || r.lines[0].text[0] == '#') {
		r.lines = r.lines[1:]
	}
}

// block reads the map or list whose lines have this indent.
func (r *yamlReader) block(indent int) any {
	var list []any
	m := object{}
	for r.skip(); len(r.lines) > 0 && r.lines[0].indent == indent; r.skip() {
		line := r.lines[0]
		if rest, ok := strings.CutPrefix(line.text, "- "); ok {
			if _, _, isMap := cutKey(rest); isMap { // its first key stands beside the dash
				r.lines[0] = yamlLine{indent + 2, rest, line.number}
				list = append(list, r.block(indent+2))
			} else {
				list, r.lines = append(list, r.scalar(rest)), r.lines[1:]
			}
			continue
		}
		key, value, ok := cutKey(line.text)
		if _, twice := m[key]; !ok || twice || list != nil {
			r.fail("want one key of its own")
			return nil
		}
		r.lines = r.lines[1:]
		switch r.skip(); {
		case value == "|":
			m[key] = r.literal(indent + 2)
		case value != "":
			m[key] = r.scalar(value)
		case len(r.lines) > 0 && r.lines[0].indent > indent:
			m[key] = r.block(r.lines[0].indent)
		default:
			r.fail("a key without a value")
		}
	}
	if list != nil {
		return list
	}
	return m
}

func (r *yamlReader) literal(indent int) string {
	var text []string
	for len(r.lines) > 0 && (r.lines[0].text == "" || r.lines[0].indent >= indent) {
		text, r.lines = append(text, r.lines[0].text), r.lines[1:]
	}
	return strings.Join(text, "\n")
}

var keyForm = regexp.MustCompile(`^("[^"]*"|[^"\s:][^\s:]*):(?: (.*))?$`)

func cutKey(text string) (key, value string, ok bool) {
	m := keyForm.FindStringSubmatch(text)
	if m == nil {
		return "", "", false
	}
	return strings.Trim(m[1], `"`), m[2], true
}

func (r *yamlReader) scalar(text string) any {
	switch {
	case text == "[]":
		return []any{}
	case strings.HasPrefix(text, "["):
		var list []any
		for item := range strings.SplitSeq(strings.Trim(text, "[]"), ", ") {
			list = append(list, r.scalar(item))
		}
		return list
	case strings.HasPrefix(text, `"`):
		s, err := strconv.Unquote(text)
		if err != nil {
			r.fail(err.Error())
		}
		return s
	case text == "true", text == "false":
		return text == "true"
	case strings.Contains(text, ": ") || strings.Contains(text, " #"):
		r.fail("must be quoted")
	}
	if n, err := strconv.ParseFloat(text, 64); err == nil {
		return n
	}
	return text
}

// at follows keys.
func at(v any, keys ...string) any {
	for _, k := range keys {
		m, _ := v.(object)
		v = m[k]
	}
	return v
}

// resolve follows references.
func resolve(t testing.TB, doc object, v any) object {
	t.Helper()
	m, _ := v.(object)
	if ref, ok := m["$ref"].(string); ok {
		found, ok := at(doc, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...).(object)
		if !ok {
			t.Fatalf("%s is nowhere in the contract", ref)
		}
		return resolve(t, doc, found)
	}
	return m
}

// conforms holds a JSON value against a schema of the contract; it knows the
// keywords that the contract uses, and fails on others.
func conforms(t testing.TB, doc object, schema any, v any, path string) (wrong []string) {
	t.Helper()
	s := resolve(t, doc, schema)
	bad := func(format string, args ...any) { wrong = append(wrong, path+": "+fmt.Sprintf(format, args...)) }
	for keyword, want := range s {
		number, isNumber := v.(float64)
		text, isText := v.(string)
		list, isList := v.([]any)
		members, isObject := v.(object)
		switch keyword {
		case "type":
			kind := map[bool]string{true: "integer", false: "number"}[number == math.Trunc(number)]
			switch {
			case isText:
				kind = "string"
			case isList:
				kind = "array"
			case isObject:
				kind = "object"
			case !isNumber:
				kind = map[bool]string{true: "boolean", false: "null"}[v == true || v == false]
			}
			if kind != want {
				bad("is %s, want %s", kind, want)
			}
		case "enum":
			if !slices.Contains(want.([]any), v) {
				bad("%v is none of %v", v, want)
			}
		case "pattern":
			if isText && !regexp.MustCompile(want.(string)).MatchString(text) {
				bad("%q does not match %s", text, want)
			}
		case "format":
			if _, err := time.Parse(time.RFC3339, text); want != "date-time" || err != nil {
				bad("%q is no %s", text, want)
			}
		case "minimum":
			if isNumber && number < want.(float64) {
				bad("%v is less than %v", v, want)
			}
		case "maximum":
			if isNumber && number > want.(float64) {
				bad("%v is more than %v", v, want)
			}
		case "minLength":
			if isText && float64(utf8.RuneCountInString(text)) < want.(float64) {
				bad("is shorter than %v", want)
			}
		case "maxLength":
			if isText && float64(utf8.RuneCountInString(text)) > want.(float64) {
				bad("is longer than %v", want)
			}
		case "maxItems":
			if float64(len(list)) > want.(float64) {
				bad("has more than %v items", want)
			}
		case "items":
			for i, item := range list {
				wrong = append(wrong, conforms(t, doc, want, item, fmt.Sprintf("%s[%d]", path, i))...)
			}
		case "required":
			for _, name := range want.([]any) {
				if _, ok := members[name.(string)]; !ok {
					bad("lacks %s", name)
				}
			}
		case "properties":
			for name, sub := range want.(object) {
				if member, ok := members[name]; ok {
					wrong = append(wrong, conforms(t, doc, sub, member, path+"."+name)...)
				}
			}
		case "additionalProperties":
			known, _ := s["properties"].(object)
			for name, member := range members {
				if _, ok := known[name]; ok {
					continue
				}
				if want == false {
					bad("has %s, which is not in the contract", name)
				} else {
					wrong = append(wrong, conforms(t, doc, want, member, path+"."+name)...)
				}
			}
		case "description", "default":
		default:
			t.Fatalf("%s: the test does not know the keyword %s", path, keyword)
		}
	}
	return wrong
}

// keep holds an answer against the contract: an operation's status is
// described, or its default is, with the type and form of the body.
func keep(t testing.TB, method, pattern string, status int, contentType string, body []byte) {
	t.Helper()
	doc, err := contract()
	if err != nil {
		t.Fatal(err)
	}
	answers := at(doc, "paths", pattern, strings.ToLower(method), "responses")
	answer := at(answers, strconv.Itoa(status))
	if answer == nil && status >= 400 {
		if answer = at(answers, "default"); answer == nil { // a path or method that is not in the contract
			answer = at(doc, "components", "responses", "Problem")
		}
	}
	kinds, _ := resolve(t, doc, answer)["content"].(object)
	kind, ok := kinds[contentType].(object)
	if !ok {
		t.Errorf("%s %s: %d with %q is not in the contract: %s", method, pattern, status, contentType, body)
		return
	}
	if !strings.HasSuffix(contentType, "json") {
		return
	}
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		t.Errorf("%s %s: %d: %v: %s", method, pattern, status, err, body)
		return
	}
	for _, wrong := range conforms(t, doc, kind["schema"], v, "body") {
		t.Errorf("%s %s: %d: %s\n%s", method, pattern, status, wrong, body)
	}
}
