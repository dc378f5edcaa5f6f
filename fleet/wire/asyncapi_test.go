package wire

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

// schemaOf puts a type in the place of the one of that name.
type schemaOf struct {
	name string
	typ  reflect.Type
}

// asyncapi writes the AsyncAPI 3.0 document from the terminal's side.
func asyncapi(t testing.TB, instead []schemaOf) string {
	t.Helper()
	c, names := sourceComments(t)
	ref := func(s string) node { return node{{"$ref", s}} }

	parameters := node{}
	for _, p := range []string{"tenant", "site", "device"} {
		parameters = append(parameters, kv{p, ref("#/components/parameters/" + p)})
	}
	examples := make(map[Channel][]any)
	for _, m := range exampleMessages(t) {
		raw, err := marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		examples[m.Channel()] = append(examples[m.Channel()], node{{"payload", jsonNode(t, string(raw))}})
	}
	claims := make(map[Channel]token)
	for _, tok := range exampleTokens(t) {
		ch := Channel(strings.TrimSuffix(tok.typ(), "+jws"))
		text, err := signer(t, hubKey).Sign(tok.typ(), tok)
		if err != nil {
			t.Fatal(err)
		}
		claims[ch] = tok
		examples[ch] = append(examples[ch], node{{"payload", text}})
	}
	examples[ChannelLedger] = []any{node{{"payload", string(rawBatch(exampleBatch(t)))}}}

	channelNodes, operations, messages := node{}, node{}, node{}
	schemaNames := map[Channel]string{
		ChannelState: "State", ChannelHello: "Hello", ChannelLedger: "Batch", ChannelEvt: "Evt", ChannelTele: "Tele", ChannelRes: "Res", ChannelPayGet: "PayGet", ChannelPropose: "Propose",
		ChannelAck: "Ack", ChannelPay: "Pay", ChannelCharge: "ChargeRequest", ChannelPayout: "Payout",
	}
	for _, up := range []bool{true, false} {
		for _, ch := range Channels(up) {
			direction, action := "down", "receive"
			if up {
				direction, action = "up", "send"
			}
			name, schema := string(ch), schemaNames[ch]
			about := strings.Replace(c[schema], schema+" ", "", 1)
			channelNodes = append(channelNodes, kv{name, node{
				{"address", "fleet/v1/{tenant}/{site}/{device}/" + direction + "/" + name},
				{"description", c[channelName(t, ch)]},
				{"parameters", parameters},
				{"messages", node{{name, ref("#/components/messages/" + name)}}},
			}})
			operations = append(operations, kv{action + strings.TrimPrefix(channelName(t, ch), "Channel"), node{
				{"action", action},
				{"channel", ref("#/channels/" + name)},
				{"messages", []any{ref("#/channels/" + name + "/messages/" + name)}},
				{"bindings", node{{"mqtt", node{{"qos", int(ch.QoS())}, {"retain", ch.Retained()}}}}},
			}})
			message := node{{"name", name}, {"title", schema}, {"summary", strings.ToUpper(about[:1]) + about[1:]}}
			switch {
			case ch == ChannelLedger:
				message = append(message, kv{"contentType", "application/octet-stream"}, kv{"payload", node{
					{"type", "string"},
					{"description", "One line with the JSON of #/components/schemas/Batch, then the exact bytes of each entry, one a line; deflated as every payload upwards may be."},
				}}, kv{"x-header-line", ref("#/components/schemas/Batch")})
			case up:
				message = append(message, kv{"contentType", "application/json"}, kv{"payload", ref("#/components/schemas/" + schema)})
			default:
				message = append(message, kv{"contentType", "application/jose"},
					kv{"payload", ref("#/components/schemas/token")},
					kv{"x-jws", node{{"alg", alg}, {"typ", ch.Typ()}, {"claims", ref("#/components/schemas/" + schema)}}})
			}
			message = append(message, kv{"examples", examples[ch]})
			messages = append(messages, kv{name, message})
		}
	}

	schemas := node{
		{"segment", node{{"type", "string"}, {"pattern", fmt.Sprintf("^[a-z0-9-]{1,%d}$", MaxSegment)}}},
		{"name", node{{"type", "string"}, {"pattern", fmt.Sprintf("^[a-z0-9_.]{1,%d}$", MaxID)}}},
		{"id", node{{"type", "string"}, {"pattern", fmt.Sprintf("^[A-Za-z0-9._:/@+#=-]{1,%d}$", MaxID)}}},
		{"text", node{{"type", "string"}, {"maxLength", MaxText}, {"description", fmt.Sprintf("Printable characters, at most %d bytes of UTF-8.", MaxText)}}},
		{"time", node{{"type", "string"}, {"format", "date-time"}, {"description", "RFC 3339 in UTC, to the millisecond."}}},
		{"hash", node{{"type", "string"}, {"pattern", "^[0-9a-f]{64}$"}, {"description", "SHA-256, lower-case hex."}}},
		{"token", node{
			{"type", "string"},
			{"maxLength", MaxToken},
			{"pattern", `^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{86}$`},
			{"description", "Compact JWS, EdDSA (Ed25519). The header has exactly alg, typ and kid."},
		}},
	}
	for _, of := range structs() {
		name := of.Name()
		for _, s := range instead {
			if s.name == name {
				of = s.typ
			}
		}
		properties, required := node{}, []any{}
		for _, f := range append(claimsFields(of), fieldsOf(of)...) {
			owner := of
			if isClaim(of, f) {
				owner = reflect.TypeFor[Claims]()
			}
			text := c[owner.Name()+"."+goName(owner, f.name)]
			if len(instead) == 0 {
				text = c.of(t, owner, f.name)
			}
			schema := classOf(t, classOwner(owner, f), f).schema
			if schema[0].key != "$ref" {
				schema = append(schema[:len(schema):len(schema)], kv{"description", text})
			} else {
				schema = node{{"description", text}, {"allOf", []any{schema}}}
			}
			properties = append(properties, kv{f.name, schema})
			if !f.optional {
				required = append(required, f.name)
			}
		}
		schemas = append(schemas, kv{name, node{
			{"type", "object"}, {"description", c[name]}, {"properties", properties}, {"required", required},
		}})
	}

	limitNode := node{}
	for _, n := range limitNames(t, names) {
		v := limits[n]
		if d, ok := v.(time.Duration); ok {
			v = fmt.Sprintf("PT%dS", int64(d/time.Second))
		}
		limitNode = append(limitNode, kv{n, v})
	}
	doc := node{
		{"asyncapi", "3.0.0"},
		{"info", node{
			{"title", "Terminal and hub over MQTT"},
			{"version", fmt.Sprint(Version) + ".0.0"},
			{"description", "The protocol from the terminal's side. docs/mqtt-protocol.md says how the messages work together. This file is written from the code by a test."},
			{"license", node{{"name", "Apache-2.0"}}},
			{"x-limits", limitNode},
		}},
		{"defaultContentType", "application/json"},
		{"servers", node{{"broker", node{
			{"host", "{host}:8883"},
			{"protocol", "secure-mqtt"},
			{"protocolVersion", "3.1.1"},
			{"description", "Any MQTT 3.1.1 broker that checks client certificates."},
			{"variables", node{{"host", node{{"description", "The operator's broker."}}}}},
			{"security", []any{node{{"type", "X509"}, {"description", "The certificate names the device."}}}},
			{"bindings", node{{"mqtt", node{
				{"cleanSession", true},
				{"keepAlive", 60},
				{"lastWill", node{
					{"topic", Topic{"acme", "loja-12", exampleDevice(), true, ChannelState}.String()},
					{"qos", int(ChannelState.QoS())},
					{"message", string(mustMarshal(t, exampleMessages(t)[1]))},
					{"retain", ChannelState.Retained()},
				}},
			}}}},
		}}}},
		{"channels", channelNodes},
		{"operations", operations},
		{"components", node{
			{"parameters", node{
				{"tenant", node{{"description", "Whose terminal it is; lower-case letters, digits and -."}}},
				{"site", node{{"description", "Where it stands; lower-case letters, digits and -."}}},
				{"device", node{{"description", "The terminal, unique in the fleet; lower-case letters, digits and -."}}},
			}},
			{"messages", messages},
			{"schemas", schemas},
		}},
	}
	var b strings.Builder
	b.WriteString("# Written by go test ./fleet/wire -update from the code. Do not edit.\n")
	yaml(&b, doc, "")
	return b.String()
}

func mustMarshal(t testing.TB, v any) []byte {
	t.Helper()
	raw, err := marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// claimsFields are the members that every token has.
func claimsFields(of reflect.Type) []field {
	if f, ok := of.FieldByName("Claims"); ok && f.Anonymous {
		return fieldsOf(f.Type)
	}
	return nil
}

func isClaim(of reflect.Type, f field) bool {
	for _, claim := range claimsFields(of) {
		if claim.name == f.name {
			return true
		}
	}
	return false
}

// classOwner is the type under which the member has its class.
func classOwner(of reflect.Type, f field) reflect.Type {
	if _, ok := classes[of.Name()+"."+f.name]; !ok && of.NumField() > 0 && of.Field(0).Anonymous {
		return of.Field(0).Type
	}
	return of
}

func goName(of reflect.Type, member string) string {
	for _, f := range reflect.VisibleFields(of) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name == member {
			return f.Name
		}
	}
	return ""
}

func TestAsyncAPI(t *testing.T) {
	want := asyncapi(t, nil)
	hold(t, asyncapiPath, want)
	// Whatever the generator does, these must be in the file.
	got := readText(t, asyncapiPath)
	for _, up := range []bool{true, false} {
		for _, ch := range Channels(up) {
			if !strings.Contains(got, "/"+string(ch)+"\"\n") {
				t.Errorf("channel %s is missing", ch)
			}
			if typ := ch.Typ(); typ != "" && !strings.Contains(got, `typ: "`+typ+`"`) {
				t.Errorf("typ %s is missing", typ)
			}
		}
	}
	for name, v := range limits {
		if _, ok := v.(time.Duration); !ok && !strings.Contains(got, fmt.Sprintf("%s: %v\n", name, v)) {
			t.Errorf("limit %s is missing", name)
		}
	}
	for _, of := range structs() {
		for _, f := range fieldsOf(of) {
			if !strings.Contains(got, "        "+f.name+":\n") {
				t.Errorf("%s.%s is missing", of.Name(), f.name)
			}
		}
	}
}
