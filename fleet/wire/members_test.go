package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/money"
)

// class is what may stand in a member, as documents say it. bad and good are
// JSON values that the code must refuse and take in its place.
type class struct {
	name      string // in tables; "" where the schema's own type says enough
	schema    node
	good, bad []string
}

func quoted(s ...string) []string {
	var out []string
	for _, s := range s {
		raw, err := marshal(s)
		if err != nil {
			panic(err)
		}
		out = append(out, string(raw))
	}
	return out
}

func words(open bool, list ...string) class {
	var quotedList []any
	for _, w := range list {
		quotedList = append(quotedList, w)
	}
	c := class{"one of `" + strings.Join(list, "` `") + "`", node{{"type", "string"}, {"enum", quotedList}}, nil, quoted("", "Other word", strings.ToUpper(list[0]))}
	if open {
		c = class{"id, such as `" + strings.Join(list, "` `") + "`", node{{"$ref", "#/components/schemas/id"}, {"examples", quotedList}}, quoted("other_word"), quoted("", "other word")}
		return c
	}
	c.bad = append(c.bad, quoted("other_word")...)
	for _, w := range list {
		c.good = append(c.good, quoted(w)...)
	}
	return c
}

func integer(least, most string) class {
	c := class{
		"integer, " + least + " to " + most,
		node{{"type", "integer"}, {"minimum", json.Number(least)}, {"maximum", json.Number(most)}},
		[]string{most},
		[]string{least + ".5", `"` + least + `"`, "1e1", "01", "true"},
	}
	if n, err := strconv.ParseInt(least, 10, 64); err == nil && n > math.MinInt64 {
		c.good = append(c.good, least)
		c.bad = append(c.bad, strconv.FormatInt(n-1, 10))
	}
	if n, err := strconv.ParseUint(most, 10, 64); err == nil && n < math.MaxUint64 {
		c.bad = append(c.bad, strconv.FormatUint(n+1, 10))
	} else {
		c.bad = append(c.bad, "18446744073709551616")
	}
	return c
}

const (
	max31 = "2147483647"
	max53 = "9007199254740991"
	max63 = "9223372036854775807"
	max64 = "18446744073709551615"
)

var (
	classID      = class{"id", node{{"$ref", "#/components/schemas/id"}}, quoted("x", strings.Repeat("x", MaxID), "aZ09._:/@+#=-"), quoted("", "a b", "é", "a\nb", strings.Repeat("x", MaxID+1))}
	classText    = class{"text", node{{"$ref", "#/components/schemas/text"}}, quoted("", "São João 3\u00a0€ 😀", strings.Repeat("x", MaxText)), quoted("a\nb", "\x7f", "\ufffd", "\u202e", strings.Repeat("x", MaxText+1))}
	classSomeTxt = class{"text, not empty", node{{"$ref", "#/components/schemas/text"}, {"minLength", 1}}, quoted("São João", strings.Repeat("x", MaxText)), quoted("", "a\nb", "\u2028", strings.Repeat("x", MaxText+1))}
	classSegment = class{"segment", node{{"$ref", "#/components/schemas/segment"}}, quoted("d-1", strings.Repeat("x", MaxSegment)), quoted("", "D1", "a_b", "a/b", "+", strings.Repeat("x", MaxSegment+1))}
	classBool    = class{"boolean", node{{"type", "boolean"}}, nil, []string{"1", `"true"`, "null"}}
	classTime    = class{"time", node{{"$ref", "#/components/schemas/time"}}, quoted("2026-07-01T12:00:05Z", "2026-07-01T12:00:05.123456789Z"), append(quoted("", "2026-07-01", "2026-07-01 12:00:05Z", "2026-02-30T12:00:00Z", "1969-12-31T23:59:59Z"), "1782907205")}
	classHash    = class{"hash", node{{"$ref", "#/components/schemas/hash"}}, nil, quoted("", strings.Repeat("0", 63), strings.Repeat("G", 64), strings.Repeat("A", 64))}
	classVersion = class{"integer, 1", node{{"type", "integer"}, {"const", 1}}, []string{"1"}, []string{"0", "2", "-1", `"1"`, "1.0", "null"}}
	classClock   = words(false, "unsynced", "floor", "synced", "anchored")
	classSize    = integer("0", max63)
	classSeconds = class{"integer, Unix seconds", node{{"type", "integer"}, {"minimum", 1}, {"maximum", json.Number(fmt.Sprint(int64(maxUnix)))}}, nil, []string{"0", "-1", "1.5", `"1"`}}
)

// classes says what each member holds: the type's name and the member's. A new
// member has no class, and fails the tests until it has one.
var classes = map[string]class{
	"State.v": classVersion, "State.on": classBool, "State.sid": classID, "State.boot": classID, "State.version": classText, "State.at": classTime,

	"Hello.v": classVersion, "Hello.sid": classID, "Hello.device": classSegment, "Hello.version": classSomeTxt,
	"Hello.ctr": integer("0", max53), "Hello.clock": classClock, "Hello.pending": integer("0", max31), "Hello.free": classSize,

	"Evt.v": classVersion, "Evt.sid": classID, "Evt.id": classID, "Evt.kind": classID, "Evt.level": words(false, "info", "warn", "alarm"),
	"Evt.at": classTime, "Evt.clock": classClock,
	"Evt.detail": {
		"object of texts",
		node{{"type", "object"}, {"maxProperties", MaxDetails}, {"propertyNames", node{{"$ref", "#/components/schemas/name"}}}, {"additionalProperties", node{{"$ref", "#/components/schemas/text"}}}},
		[]string{"{}", `{"a_b.9":""}`},
		[]string{`{"A":""}`, `{"a":1}`, `{"a":null}`, `[]`, `""`, `{"":""}`},
	},

	"Tele.v": classVersion, "Tele.sid": classID, "Tele.at": classTime, "Tele.clock": classClock, "Tele.up_ms": classSize,
	"Tele.counters": {
		"object of integers, 0 to 2^64-1",
		node{{"type", "object"}, {"maxProperties", MaxMetrics}, {"propertyNames", node{{"$ref", "#/components/schemas/name"}}}, {"additionalProperties", node{{"type", "integer"}, {"minimum", 0}, {"maximum", json.Number(max64)}}}},
		[]string{"{}", `{"a":` + max64 + `}`},
		[]string{`{"a":-1}`, `{"a":1.5}`, `{"A":1}`, `{"a":"1"}`, `[]`},
	},
	"Tele.gauges": {
		"object of integers, -2^63 to 2^63-1",
		node{{"type", "object"}, {"maxProperties", MaxMetrics}, {"propertyNames", node{{"$ref", "#/components/schemas/name"}}}, {"additionalProperties", node{{"type", "integer"}, {"minimum", json.Number("-9223372036854775808")}, {"maximum", json.Number(max63)}}}},
		[]string{"{}", `{"a":-9223372036854775808}`},
		[]string{`{"a":` + max64 + `}`, `{"a":1.5}`, `{"A":1}`, `{"a":"1"}`, `[]`},
	},

	"Res.v": classVersion, "Res.sid": classID, "Res.jti": classID, "Res.ok": classBool,
	"Res.code": words(true, codeWords()...), "Res.detail": classText, "Res.charge": classID,

	"PayGet.v": classVersion, "PayGet.sid": classID,
	"PayGet.charges": {
		fmt.Sprintf("list of 1 to %d ids", MaxAsked),
		node{{"type", "array"}, {"minItems", 1}, {"maxItems", MaxAsked}, {"items", node{{"$ref", "#/components/schemas/id"}}}},
		nil,
		[]string{`[]`, `""`, `{}`, `[1]`, `[""]`, `[null]`},
	},

	"Propose.v": classVersion, "Propose.sid": classID, "Propose.proposal": classID,
	"Propose.sealed": {fmt.Sprintf("base64, at most %d bytes", MaxSealed), node{{"type", "string"}, {"contentEncoding", "base64"}}, quoted("AAAA"), quoted("%", strings.Repeat("AAAA", MaxSealed/3+1))},

	"Batch.v": classVersion, "Batch.sid": classID, "Batch.count": integer("1", strconv.Itoa(MaxBatchEntries)), "Batch.prev": classHash,

	"Position.epoch": integer("0", max64), "Position.seq": integer("0", max64),
	"Head.epoch": integer("0", max64), "Head.seq": integer("0", max64), "Head.hash": classHash,
	"Signed.checkpoint": {"checkpoint, its exact bytes", node{{"$ref", "#/components/schemas/Checkpoint"}}, nil, []string{`""`, `[]`, `1`}},
	"Signed.signature":  {"base64, 64 bytes", node{{"type", "string"}, {"contentEncoding", "base64"}}, nil, quoted("", "AAAA", "%")},

	"Claims.aud": classSegment, "Claims.jti": classID, "Claims.ctr": integer("1", max53), "Claims.iat": classSeconds, "Claims.exp": classSeconds,

	"Ack.epoch": integer("0", max64), "Ack.seq": integer("0", max64), "Ack.head": classHash, "Ack.hold": words(true, "epoch", "fork"),

	"Pay.charge": classID, "Pay.ver": integer("1", max64), "Pay.status": words(false, "pending", "paid", "expired", "cancelled", "failed", "refunded"),
	"Pay.cents": integer("0", max63), "Pay.end_to_end": classID, "Pay.route": classID, "Pay.account": classText, "Pay.provider_id": classSomeTxt,
	"Pay.attempt": integer("1", max31), "Pay.paid_at": classTime, "Pay.digest": classID,

	"ChargeRequest.reference": classSomeTxt, "ChargeRequest.merchant": classID, "ChargeRequest.amount": integer("1", max63),
	"Payout.payout": classID, "Payout.kind": words(false, "payout", "refund"), "Payout.state": words(false, PayoutStates()...), "Payout.cents": integer("1", max63),
	"Payout.charge": classID, "Payout.end_to_end": classID, "Payout.sent": classID, "Payout.digest": classID, "Payout.by": classID, "Payout.reason": classText,

	"ChargeRequest.description": classText, "ChargeRequest.present": classBool,

	"Checkpoint.device": classSegment, "Checkpoint.boot": classID, "Checkpoint.wall": classTime,
}

func codeWords() []string {
	var list []string
	for _, c := range Codes() {
		list = append(list, string(c))
	}
	return list
}

// contextual are members whose value must fit others, so that some values of
// their class are refused in the example.
var contextual = map[string]bool{
	"Ack.seq": true, "Batch.count": true, "Pay.cents": true, "Payout.kind": true, "Payout.charge": true, "Payout.end_to_end": true, "Res.code": true, "Checkpoint.boot": true, "Checkpoint.device": true, "Checkpoint.wall": true,
	"Head.seq": true, "Position.seq": true, "Position.epoch": true, "State.version": true,
}

// structs are the types that have members on the wire, in the order of the
// documents.
func structs() []reflect.Type {
	return []reflect.Type{
		reflect.TypeFor[State](), reflect.TypeFor[Hello](), reflect.TypeFor[Evt](), reflect.TypeFor[Tele](), reflect.TypeFor[Res](), reflect.TypeFor[PayGet](), reflect.TypeFor[Propose](),
		reflect.TypeFor[Batch](), reflect.TypeFor[Claims](), reflect.TypeFor[Ack](), reflect.TypeFor[Pay](), reflect.TypeFor[ChargeRequest](), reflect.TypeFor[Payout](),
		reflect.TypeFor[ledger.Position](), reflect.TypeFor[ledger.Head](), reflect.TypeFor[ledger.Signed](), reflect.TypeFor[ledger.Checkpoint](),
	}
}

// field is one member of a type in its order.
type field struct {
	name     string
	typ      reflect.Type
	optional bool
}

// fieldsOf lists the members of a struct. Claims, which every token shares, are
// left out; they are documented once.
func fieldsOf(t reflect.Type) []field {
	var list []field
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && f.Type != reflect.TypeFor[Claims]():
			list = append(list, fieldsOf(f.Type)...)
		case name != "" && name != "-":
			list = append(list, field{name, f.Type, membersOf(t)[name].optional})
		}
	}
	return list
}

// classOf is the class of a member; composite types are their own.
func classOf(t testing.TB, of reflect.Type, f field) class {
	t.Helper()
	inner := f.typ
	for inner.Kind() == reflect.Pointer {
		inner = inner.Elem()
	}
	switch inner {
	case reflect.TypeFor[ledger.Position](), reflect.TypeFor[ledger.Head](), reflect.TypeFor[ledger.Signed]():
		names := map[string]string{"Position": "position", "Head": "head", "Signed": "signed checkpoint"}
		return class{names[inner.Name()], node{{"$ref", "#/components/schemas/" + inner.Name()}}, nil, []string{`""`, `[]`, `{}`, `1`, `null`}}
	}
	c, ok := classes[of.Name()+"."+f.name]
	if !ok {
		t.Errorf("%s.%s has no class in the table of this test: say what it may hold, and write the documents anew", of.Name(), f.name)
	}
	return c
}

// sample is a text that the code takes, and how to ask it.
type sample struct {
	text string
	take func(text string) error
}

// samples gives for each type that stands alone texts with all its members.
func samples(t testing.TB) map[reflect.Type]sample {
	t.Helper()
	list := make(map[reflect.Type]sample)
	for _, m := range slices.Backward(exampleMessages(t)) {
		raw, err := marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		// Of two examples the first one counts, with what only the other has.
		text := strings.Replace(string(raw), `"code":"done"`, `"code":"done","detail":"x"`, 1)
		list[reflect.TypeOf(m)] = sample{text, func(text string) error {
			_, err := decodeAny(m, []byte(text))
			return err
		}}
	}
	tokens := exampleTokens(t)
	for _, tok := range []token{tokens[1], tokens[2], tokens[3], tokens[5]} {
		text := claimsText(t, tok)
		if tok.typ() == TypAck {
			text = strings.TrimSuffix(text, "}") + `,"hold":"fork"}`
		}
		list[reflect.TypeOf(tok)] = sample{text, func(text string) error {
			_, err := open(pinned(t), jws(hubKey, headText(tok.typ(), KeyID(public(hubKey))), text), tok.typ(), exampleDevice(), exampleNow, false)
			return err
		}}
	}
	list[reflect.TypeFor[Claims]()] = list[reflect.TypeFor[Ack]()]
	b := exampleBatch(t)
	raw, err := marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	list[reflect.TypeFor[Batch]()] = sample{string(raw), func(text string) error {
		_, err := DecodeBatch([]byte(text + "\n" + string(bytes.Join(b.Entries, []byte("\n"))) + "\n"))
		return err
	}}
	return list
}

// put replaces the value of a member of the outermost object; "" removes it.
func put(t testing.TB, text, name, value string) string {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	var out []string
	if _, err := d.Token(); err != nil {
		t.Fatal(err)
	}
	found := false
	for d.More() {
		key, err := d.Token()
		var raw json.RawMessage
		if err == nil {
			err = d.Decode(&raw)
		}
		if err != nil {
			t.Fatal(err)
		}
		if key == name {
			found = true
			if value == "" {
				continue
			}
			raw = json.RawMessage(value)
		}
		out = append(out, fmt.Sprintf("%q:%s", key, raw))
	}
	if !found {
		t.Fatalf("%s has no %s", text, name)
	}
	return "{" + strings.Join(out, ",") + "}"
}

// TestMembers holds the classes, which the documents are made of, against the
// code: what a class excludes is refused, what it includes is taken, and what
// is not optional must be there.
func TestMembers(t *testing.T) {
	for of, s := range samples(t) {
		if err := s.take(s.text); err != nil {
			t.Fatalf("%s: %v", s.text, err)
		}
		for _, f := range fieldsOf(of) {
			name := of.Name() + "." + f.name
			c := classOf(t, of, f)
			if len(c.bad) == 0 {
				t.Errorf("%s: the class excludes nothing", name)
			}
			for _, bad := range append(c.bad, "null", `[[]]`, `{"x":{}}`) {
				if f.typ.Kind() == reflect.String && f.optional && bad == `""` {
					continue // empty is absent
				}
				if err := s.take(put(t, s.text, f.name, bad)); err == nil {
					t.Errorf("%s: %s was taken", name, bad)
				}
			}
			if !contextual[name] {
				for _, good := range c.good {
					if f.name == "iat" || f.name == "exp" {
						break
					}
					if err := s.take(put(t, s.text, f.name, good)); err != nil && !(wordOf(err) == "audience" && f.name == "aud") {
						t.Errorf("%s: %s: %v", name, good, err)
					}
				}
			}
			err := s.take(put(t, s.text, f.name, ""))
			switch {
			case !f.optional && wordOf(err) != "malformed":
				t.Errorf("%s is missing, and the result is %v", name, err)
			case f.optional && err != nil && of != reflect.TypeFor[State]() && !contextual[name]:
				t.Errorf("%s is optional, and missing: %v", name, err)
			}
		}
	}
}

// TestNestedMembers does the same inside the objects that messages share.
func TestNestedMembers(t *testing.T) {
	all := samples(t)
	signed, err := marshal(exampleBatch(t).Checkpoint)
	if err != nil {
		t.Fatal(err)
	}
	head, err := marshal(exampleHead(t, 3))
	if err != nil {
		t.Fatal(err)
	}
	for _, place := range []struct {
		of    reflect.Type
		outer reflect.Type
		name  string
		text  string
	}{
		{reflect.TypeFor[ledger.Head](), reflect.TypeFor[Hello](), "head", string(head)},
		{reflect.TypeFor[ledger.Head](), reflect.TypeFor[Hello](), "acked", string(head)},
		{reflect.TypeFor[ledger.Position](), reflect.TypeFor[Ack](), "want", `{"epoch":1,"seq":2}`},
		{reflect.TypeFor[ledger.Position](), reflect.TypeFor[Batch](), "from", `{"epoch":1,"seq":2}`},
		{reflect.TypeFor[ledger.Signed](), reflect.TypeFor[Batch](), "checkpoint", string(signed)},
	} {
		outer := all[place.outer]
		take := func(text string) error { return outer.take(put(t, outer.text, place.name, text)) }
		if err := take(place.text); err != nil {
			t.Fatalf("%s: %v", place.text, err)
		}
		for _, f := range fieldsOf(place.of) {
			for _, bad := range append(classOf(t, place.of, f).bad, "null", "") {
				if err := take(put(t, place.text, f.name, bad)); err == nil {
					t.Errorf("%s.%s.%s: %q was taken", place.outer.Name(), place.name, f.name, bad)
				}
			}
			if err := take(strings.Replace(place.text, "{", `{"newer":1,`, 1)); err != nil {
				t.Errorf("%s.%s: unknown member: %v", place.outer.Name(), place.name, err)
			}
		}
	}
}

// TestMembersHaveKnownTypes: only kinds of Go values whose JSON form is exact
// and the same in every language are on the wire; no floating point at all.
func TestMembersHaveKnownTypes(t *testing.T) {
	known := []reflect.Type{
		reflect.TypeFor[int](), reflect.TypeFor[int64](), reflect.TypeFor[uint64](), reflect.TypeFor[bool](), reflect.TypeFor[string](),
		reflect.TypeFor[Code](), reflect.TypeFor[Hold](), reflect.TypeFor[Level](), reflect.TypeFor[time.Time](), reflect.TypeFor[money.Amount](),
		reflect.TypeFor[map[string]string](), reflect.TypeFor[map[string]uint64](), reflect.TypeFor[map[string]int64](), reflect.TypeFor[[]string](),
		reflect.TypeFor[ledger.Hash](), reflect.TypeFor[ledger.Head](), reflect.TypeFor[ledger.Position](), reflect.TypeFor[*ledger.Position](),
		reflect.TypeFor[*ledger.Signed](), reflect.TypeFor[json.RawMessage](), reflect.TypeFor[[]byte](),
	}
	for _, of := range structs() {
		for _, f := range fieldsOf(of) {
			if !slices.Contains(known, f.typ) {
				t.Errorf("%s.%s is a %v", of.Name(), f.name, f.typ)
			}
			if !validName(f.name) {
				t.Errorf("%s.%s: no reader takes this name", of.Name(), f.name)
			}
		}
	}
}
