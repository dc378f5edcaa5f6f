package wire

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ssg-safe/agent/ledger"
)

// The two documents are held against the code: docs/asyncapi.yaml is written
// from it as a whole, docs/mqtt-protocol.md has blocks that are. Descriptions
// are the comments of the Go sources. With -update both are written anew.

const (
	protocolPath = "../../docs/mqtt-protocol.md"
	asyncapiPath = "../../docs/asyncapi.yaml"
)

// comments holds what the sources say: "State" for a type, "State.At" for a
// field, "MaxPacket" for a constant or variable.
type comments map[string]string

func sourceComments(t testing.TB) (all comments, names []string) {
	t.Helper()
	all = make(comments)
	sources, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	sources = append(sources, "../../ledger/entry.go", "../../ledger/checkpoint.go")
	own := true
	fset := gotoken.NewFileSet()
	say := func(name string, groups ...*ast.CommentGroup) {
		for _, g := range groups {
			if text := strings.Join(strings.Fields(g.Text()), " "); text != "" && all[name] == "" {
				all[name] = text
			}
		}
		if own {
			names = append(names, name)
		}
	}
	for _, source := range sources {
		if strings.HasSuffix(source, "_test.go") {
			continue
		}
		own = !strings.HasPrefix(source, "../")
		f, err := parser.ParseFile(fset, source, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range f.Decls {
			d, ok := decl.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range d.Specs {
				switch s := spec.(type) {
				case *ast.ValueSpec:
					for _, n := range s.Names {
						say(n.Name, s.Doc, s.Comment, d.Doc)
					}
				case *ast.TypeSpec:
					say(s.Name.Name, s.Doc, d.Doc)
					if st, ok := s.Type.(*ast.StructType); ok {
						for _, f := range st.Fields.List {
							for _, n := range f.Names {
								say(s.Name.Name+"."+n.Name, f.Comment, f.Doc)
							}
						}
					}
				}
			}
		}
	}
	// What package ledger leaves to its own documents.
	for name, text := range map[string]string{
		"Position.Epoch": "which life of the terminal's store; sequences start again in each", "Position.Seq": "1, 2, 3, … without gaps",
		"Head.Epoch": "epoch of the entry", "Head.Seq": "its sequence", "Head.Hash": "SHA-256 of its exact bytes",
		"Signed.Checkpoint": "what was signed, to be kept byte by byte", "Signed.Signature": "Ed25519 signature by the device's key",
		"Checkpoint.Device": "the terminal", "Checkpoint.Head": "newest entry of its chain", "Checkpoint.Boot": "id of the terminal's boot", "Checkpoint.Wall": "wall clock of the terminal",
	} {
		if all[name] == "" {
			all[name] = text
		}
	}
	return all, names
}

// of is the comment of a member, without the Go name it may begin with.
func (c comments) of(t testing.TB, typ reflect.Type, member string) string {
	t.Helper()
	for _, f := range reflect.VisibleFields(typ) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name == member && !f.Anonymous {
			text := c[typ.Name()+"."+f.Name]
			if text == "" {
				t.Errorf("%s.%s has no comment: say what it is, the documents are made of it", typ.Name(), f.Name)
			}
			return text
		}
	}
	t.Errorf("%s has no member %s", typ.Name(), member)
	return ""
}

// limits are the constants with their values; the sources decide which.
var limits = map[string]any{
	"Version": Version, "MaxPacket": MaxPacket, "MaxInflated": MaxInflated, "MaxMessage": MaxMessage, "MaxBatchEntries": MaxBatchEntries,
	"MaxBatchBytes": MaxBatchBytes, "MaxEntry": MaxEntry, "MaxBatchHeader": MaxBatchHeader, "MaxInFlight": MaxInFlight, "MaxToken": MaxToken,
	"MaxLifetime": MaxLifetime, "ClockLeeway": ClockLeeway, "MaxKeys": MaxKeys, "MaxCounter": int64(MaxCounter), "MaxDepth": MaxDepth,
	"MaxID": MaxID, "MaxText": MaxText, "MaxAsked": MaxAsked, "MaxMetrics": MaxMetrics, "MaxDetails": MaxDetails,
	"MaxSegment": MaxSegment, "MaxSealed": MaxSealed, "MaxTopic": MaxTopic, "PackAbove": PackAbove,
}

// limitNames are the exported constants of limits.go, in their order.
func limitNames(t testing.TB, names []string) []string {
	t.Helper()
	var list []string
	for _, n := range names {
		if n == "Version" || strings.HasPrefix(n, "Max") || n == "ClockLeeway" || n == "PackAbove" {
			if _, ok := limits[n]; !ok {
				t.Errorf("the limit %s is not in the table of this test", n)
				continue
			}
			list = append(list, n)
		}
	}
	for n := range limits {
		if !slices.Contains(list, n) {
			t.Errorf("the limit %s is not in the sources", n)
		}
	}
	return list
}

func limitValue(v any) string {
	if d, ok := v.(time.Duration); ok {
		return fmt.Sprintf("%d s", int64(d/time.Second))
	}
	return fmt.Sprint(v)
}

func table(head string, rows ...[]string) string {
	var b strings.Builder
	columns := strings.Split(head, "|")
	fmt.Fprintf(&b, "| %s |\n|%s\n", strings.Join(columns, " | "), strings.Repeat("---|", len(columns)))
	for _, row := range rows {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
	}
	return b.String()
}

func membersTable(t testing.TB, c comments, of reflect.Type) string {
	t.Helper()
	var rows [][]string
	for _, f := range fieldsOf(of) {
		need := "always"
		if f.optional {
			need = "optional"
		}
		rows = append(rows, []string{"`" + f.name + "`", classOf(t, of, f).name, need, c.of(t, of, f.name)})
	}
	return table("member|type||meaning", rows...)
}

func fenced(language, text string) string {
	return "```" + language + "\n" + strings.TrimSuffix(text, "\n") + "\n```\n"
}

// tokenBlock shows a token and what is in it.
func tokenBlock(t testing.TB, tok token) string {
	t.Helper()
	text, err := signer(t, hubKey).Sign(tok.typ(), tok)
	if err != nil {
		t.Fatal(err)
	}
	return fenced("jws", text) + "\nIts header and claims are\n\n" + fenced("json", headText(tok.typ(), KeyID(public(hubKey)))+"\n"+claimsText(t, tok))
}

// blocks are the parts of the protocol document that are made of the code.
func blocks(t testing.TB, types []reflect.Type) map[string]string {
	t.Helper()
	c, names := sourceComments(t)
	made := make(map[string]string)

	var rows [][]string
	for _, n := range limitNames(t, names) {
		_, text, _ := strings.Cut(c[n], " is ")
		if n == "Version" {
			_, text, _ = strings.Cut(c[n], " of ")
			text = "version of " + text
		}
		rows = append(rows, []string{"`" + n + "`", limitValue(limits[n]), strings.TrimSuffix(text, ".")})
	}
	made["limits"] = table("limit|value|what", rows...)

	rows = nil
	for _, up := range []bool{true, false} {
		for _, ch := range Channels(up) {
			direction, retained, typ := "down", "no", "`"+ch.Typ()+"`"
			if up {
				direction, typ = "up", "–"
			}
			if ch.Retained() {
				retained = "yes"
			}
			rows = append(rows, []string{"`" + direction + "/" + string(ch) + "`", fmt.Sprint(ch.QoS()), retained, typ, c[channelName(t, ch)]})
		}
	}
	made["channels"] = table("channel|QoS|retained|token|what", rows...)

	rows = nil
	for _, n := range names {
		if !strings.HasPrefix(n, "Err") {
			continue
		}
		word := ""
		for w, err := range errorWords {
			if err == errorsByName[n] {
				word = w
			}
		}
		if word == "" {
			t.Errorf("%s has no word in vectors and documents", n)
		}
		_, text, _ := strings.Cut(c[n], ": ")
		rows = append(rows, []string{"`" + word + "`", strings.TrimSuffix(text, ".")})
	}
	made["errors"] = table("word|what is wrong", rows...)

	wordTable := func(prefix string, words []string) string {
		var rows [][]string
		for _, w := range words {
			name := prefix + strings.ToUpper(w[:1]) + w[1:]
			if c[name] == "" {
				t.Errorf("%s has no comment", name)
			}
			rows = append(rows, []string{"`" + w + "`", c[name]})
		}
		return table("word|meaning", rows...)
	}
	made["codes"] = wordTable("Code", codeWords())
	made["holds"] = wordTable("Hold", []string{string(HoldEpoch), string(HoldFork)})

	for _, of := range types {
		made["members "+of.Name()] = membersTable(t, c, of)
	}

	seen := make(map[Channel]int)
	for _, m := range exampleMessages(t) {
		raw, err := marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		seen[m.Channel()]++
		made[fmt.Sprintf("example %s %d", m.Channel(), seen[m.Channel()])] = fenced("json", string(raw))
	}
	made["example ledger 1"] = fenced("batch", string(rawBatch(exampleBatch(t))))
	made["example checkpoint"] = fenced("json", string(exampleBatch(t).Checkpoint.Checkpoint))
	for _, tok := range exampleTokens(t) {
		ch := Channel(strings.TrimSuffix(tok.typ(), "+jws"))
		seen[ch]++
		made[fmt.Sprintf("example %s %d", ch, seen[ch])] = tokenBlock(t, tok)
	}
	rows = nil
	for _, k := range tokenVectors(t).Keys {
		rows = append(rows, []string{k.Name, "`" + k.Kid + "`", "`" + k.JWK.X + "`", "`" + k.JWK.D + "`"})
	}
	made["keys"] = table("key|kid|public, base64url|seed, base64url", append(rows, []string{
		"device " + exampleDevice(), "–", "`" + EncodeKey(public(deviceKey)) + "`", "`" + b64.EncodeToString(deviceKey.Seed()) + "`",
	})...)
	return made
}

// errorsByName are the sentinels as the sources name them.
var errorsByName = map[string]error{
	"ErrTooLarge": ErrTooLarge, "ErrEncoding": ErrEncoding, "ErrVersion": ErrVersion, "ErrMalformed": ErrMalformed, "ErrTopic": ErrTopic,
	"ErrSignature": ErrSignature, "ErrAlgorithm": ErrAlgorithm, "ErrType": ErrType, "ErrAudience": ErrAudience, "ErrExpired": ErrExpired, "ErrKey": ErrKey, "ErrSealed": ErrSealed,
}

// channelName is the name of the channel's constant.
func channelName(t testing.TB, ch Channel) string {
	t.Helper()
	name := "Channel"
	for part := range strings.SplitSeq(string(ch), "-") {
		name += strings.ToUpper(part[:1]) + part[1:]
	}
	return name
}

var blockPattern = regexp.MustCompile(`(?s)<!-- begin ([^>]*?) -->\n(.*?)<!-- end -->\n`)

// filled puts the blocks into the document, and returns the names that it has
// no place for, and those it has a place for that do not exist.
func filled(doc string, made map[string]string) (_ string, unplaced, unknown []string) {
	placed := make(map[string]bool)
	out := blockPattern.ReplaceAllStringFunc(doc, func(old string) string {
		name := blockPattern.FindStringSubmatch(old)[1]
		text, ok := made[name]
		if !ok {
			unknown = append(unknown, name)
			return old
		}
		placed[name] = true
		return "<!-- begin " + name + " -->\n" + text + "<!-- end -->\n"
	})
	for _, name := range slices.Sorted(maps.Keys(made)) {
		if !placed[name] {
			unplaced = append(unplaced, name)
		}
	}
	return out, unplaced, unknown
}

func readText(t testing.TB, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// hold compares a document with what the code makes, or writes it.
func hold(t testing.TB, path, want string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(readText(t, path), want); diff != "" {
		t.Errorf("%s is not what the code says; go test ./fleet/wire -update writes it anew:\n%s", path, diff)
	}
}

func TestProtocolDocument(t *testing.T) {
	doc := readText(t, protocolPath)
	want, unplaced, unknown := filled(doc, blocks(t, structs()))
	if len(unplaced) > 0 || len(unknown) > 0 {
		t.Errorf("the document has no block for %q, and blocks that do not exist: %q", unplaced, unknown)
	}
	hold(t, protocolPath, want)
	// The prose speaks of nothing that does not exist: what looks like a channel,
	// a type of token or a limit is one.
	prose := blockPattern.ReplaceAllString(doc, "")
	for _, found := range regexp.MustCompile("`([a-z]+)\\+jws`").FindAllStringSubmatch(prose, -1) {
		if Channel(found[1]).Typ() == "" {
			t.Errorf("the document speaks of %s, which does not exist", found[0])
		}
	}
	for _, found := range regexp.MustCompile("`(up|down)/([a-z-]+)`").FindAllStringSubmatch(prose, -1) {
		if !slices.Contains(Channels(found[1] == "up"), Channel(found[2])) {
			t.Errorf("the document speaks of %s, which does not exist", found[0])
		}
	}
	for _, found := range regexp.MustCompile("`(Max[A-Za-z]+|PackAbove|ClockLeeway)`").FindAllStringSubmatch(prose, -1) {
		if _, ok := limits[found[1]]; !ok {
			t.Errorf("the document speaks of %s, which does not exist", found[0])
		}
	}
}

// TestExamplesOfTheDocument takes the examples out of the document as a reader
// would, and decodes and verifies them.
func TestExamplesOfTheDocument(t *testing.T) {
	keys := pinned(t)
	count := make(map[Channel]int)
	for _, m := range blockPattern.FindAllStringSubmatch(readText(t, protocolPath), -1) {
		words := strings.Fields(m[1])
		if words[0] != "example" {
			continue
		}
		var code [][]string
		for _, f := range regexp.MustCompile("(?s)```([a-z]+)\n(.*?)```").FindAllStringSubmatch(m[2], -1) {
			code = append(code, f[1:])
		}
		ch := Channel(words[1])
		count[ch]++
		switch text := []byte(code[0][1]); code[0][0] {
		case "batch":
			b, err := DecodeBatch(text)
			if err != nil {
				t.Errorf("%s: %v", m[1], err)
				continue
			}
			if cp, err := b.Checkpoint.Check(public(deviceKey)); err != nil || cp.Head.Hash != ledger.HashOf(b.Entries[len(b.Entries)-1]) {
				t.Errorf("%s: checkpoint %+v, %v", m[1], cp, err)
			}
		case "jws":
			tok, err := open(keys, strings.TrimSpace(string(text)), ch.Typ(), exampleDevice(), exampleNow, true)
			if err != nil {
				t.Errorf("%s: %v", m[1], err)
				continue
			}
			if shown, want := code[1][1], headText(ch.Typ(), KeyID(public(hubKey)))+"\n"+claimsText(t, tok)+"\n"; shown != want {
				t.Errorf("%s: the document shows\n%s\nthe token holds\n%s", m[1], shown, want)
			}
		case "json":
			if words[1] == "checkpoint" {
				if !bytes.Equal(bytes.TrimSpace(text), exampleBatch(t).Checkpoint.Checkpoint) {
					t.Errorf("the checkpoint is %s", text)
				}
				continue
			}
			if _, err := decodeChannel(ch, bytes.TrimSpace(text)); err != nil {
				t.Errorf("%s: %v", m[1], err)
			}
		}
	}
	for _, ch := range append(Channels(true), Channels(false)...) {
		if count[ch] == 0 {
			t.Errorf("the document has no example of %s", ch)
		}
	}
}

// TestSpokenExamples holds the values that the prose works out by hand.
func TestSpokenExamples(t *testing.T) {
	doc := readText(t, protocolPath)
	pub := public(deviceKey)
	for _, want := range []string{
		Topic{"acme", "loja-12", exampleDevice(), true, ChannelLedger}.String(),
		Subscription("acme", "loja-12", exampleDevice()), HubSubscription,
		"`ssg-agent ledger checkpoint v1\\n`",
		hex.EncodeToString(Pack(bytes.Repeat([]byte(`{"v":1,"sid":"k3vq7m2p5x9c1h8d"}`), 20))[:1]),
	} {
		if !strings.Contains(doc, want) {
			t.Errorf("the document does not have %s", want)
		}
	}
	// The domain of the checkpoint's signature is in package ledger.
	c := exampleBatch(t).Checkpoint
	if _, err := c.Check(pub); err != nil {
		t.Error(err)
	}
	if !strings.Contains(readText(t, "../../ledger/checkpoint.go"), `"ssg-agent ledger checkpoint v1\n"`) {
		t.Error("package ledger signs checkpoints under another name")
	}
}

// TestDocumentsMissNothing plants what a forgetful change would: a member, and
// looks whether both documents notice.
func TestDocumentsMissNothing(t *testing.T) {
	type Hello2 struct {
		Hello
		New string `json:"new"` // something new
	}
	planted := reflect.StructOf(append(visible(reflect.TypeFor[Hello]()), reflect.StructField{
		Name: "New", Type: reflect.TypeFor[string](), Tag: `json:"new"`,
	}))
	if got := len(fieldsOf(planted)); got != len(fieldsOf(reflect.TypeFor[Hello]()))+1 {
		t.Fatalf("%d members", got)
	}
	noticed := &recorder{TB: t}
	for _, f := range fieldsOf(planted) {
		if f.name == "new" {
			classOf(noticed, reflect.TypeFor[Hello2](), f)
		}
	}
	if len(noticed.errors) == 0 {
		t.Error("a member without a class was not noticed")
	}
	noticed = &recorder{TB: t}
	comments{}.of(noticed, reflect.TypeFor[Hello](), "free")
	if len(noticed.errors) == 0 {
		t.Error("a member without a comment was not noticed")
	}
	// With class and comment in place the rendered table differs.
	classes["Hello2.new"] = classID
	defer delete(classes, "Hello2.new")
	made := blocks(t, structs())
	made["members Hello"] += membersRow(t, reflect.TypeFor[Hello2](), "new")
	doc := readText(t, protocolPath)
	if out, _, _ := filled(doc, made); out == doc {
		t.Error("the protocol document does not notice a new member")
	}
	made = blocks(t, structs())
	made["members New"] = "x"
	if _, unplaced, _ := filled(doc, made); len(unplaced) != 1 {
		t.Errorf("a type without a place: %q", unplaced)
	}
	with := asyncapi(t, []schemaOf{{"Hello", reflect.TypeFor[Hello2]()}})
	if !strings.Contains(with, "new:") || strings.Contains(asyncapi(t, nil), "new:") {
		t.Error("the AsyncAPI document does not notice a new member")
	}
}

func membersRow(t testing.TB, of reflect.Type, name string) string {
	t.Helper()
	for _, f := range fieldsOf(of) {
		if f.name == name {
			return "| `" + f.name + "` | " + classOf(t, of, f).name + " | always | |\n"
		}
	}
	t.Fatalf("no member %s", name)
	return ""
}

func visible(t reflect.Type) []reflect.StructField {
	var list []reflect.StructField
	for i := range t.NumField() {
		list = append(list, t.Field(i))
	}
	return list
}

// recorder is a test that notes errors instead of failing.
type recorder struct {
	testing.TB
	errors []string
}

func (r *recorder) Helper() {}

func (r *recorder) Errorf(format string, args ...any) {
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}

// node is an ordered YAML mapping.
type node []kv

type kv struct {
	key   string
	value any
}

// yaml writes what the documents need of YAML: mappings, lists and scalars.
// Strings are quoted as in JSON, which YAML reads alike.
func yaml(b *strings.Builder, v any, indent string) {
	scalar := func(v any) string {
		raw, err := marshal(v)
		if err != nil {
			panic(err)
		}
		return string(raw)
	}
	switch v := v.(type) {
	case node:
		for _, e := range v {
			key := e.key
			if !regexp.MustCompile(`^[A-Za-z$][A-Za-z0-9_-]*$`).MatchString(key) {
				key = scalar(key)
			}
			switch inner := e.value.(type) {
			case node:
				if len(inner) == 0 {
					fmt.Fprintf(b, "%s%s: {}\n", indent, key)
					continue
				}
				fmt.Fprintf(b, "%s%s:\n", indent, key)
				yaml(b, inner, indent+"  ")
			case []any:
				fmt.Fprintf(b, "%s%s:\n", indent, key)
				yaml(b, inner, indent+"  ")
			default:
				fmt.Fprintf(b, "%s%s: %s\n", indent, key, scalar(inner))
			}
		}
	case []any:
		for _, e := range v {
			if n, ok := e.(node); ok {
				var item strings.Builder
				yaml(&item, n, indent+"  ")
				fmt.Fprintf(b, "%s- %s", indent, strings.TrimPrefix(item.String(), indent+"  "))
				continue
			}
			fmt.Fprintf(b, "%s- %s\n", indent, scalar(e))
		}
	}
}

// jsonNode makes a node of a JSON text, members in their order.
func jsonNode(t testing.TB, text string) any {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var value func() any
	value = func() any {
		tok, err := d.Token()
		if err != nil {
			t.Fatal(err)
		}
		switch tok {
		case json.Delim('{'):
			n := node{}
			for d.More() {
				key, err := d.Token()
				if err != nil {
					t.Fatal(err)
				}
				n = append(n, kv{key.(string), value()})
			}
			_, _ = d.Token()
			return n
		case json.Delim('['):
			list := []any{}
			for d.More() {
				list = append(list, value())
			}
			_, _ = d.Token()
			return list
		}
		return tok
	}
	return value()
}
