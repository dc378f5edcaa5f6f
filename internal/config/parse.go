package config

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// span is a range of bytes of the file.
type span struct{ start, end int }

func (s span) len() int { return s.end - s.start }

type nodeKind int

const (
	scalarNode nodeKind = iota + 1
	tableNode           // [x], { } and the file itself
	listNode            // [ … ]
	tablesNode          // [[x]]
	brokenNode          // a line that is no TOML; text holds its value
)

// node is a value of the file with its place.
type node struct {
	kind nodeKind
	// key is where the name stands; value where the value stands, empty for
	// tables with a header.
	key, value span
	// text is a string's content, or a value as it is written.
	text   string
	scalar unstable.Kind
	fields map[string]*node
	names  []string // of fields, in the order of the file
	items  []*node
	// header: the table has its own [header] already.
	header bool
	// complaint is what the library says about a broken line.
	complaint string
}

func newTable(key, value span) *node {
	return &node{kind: tableNode, key: key, value: value, fields: map[string]*node{}}
}

func (n *node) put(name string, child *node) {
	n.fields[name] = child
	n.names = append(n.names, name)
}

// tree is a parsed file.
type tree struct {
	root       *node
	comments   []span
	duplicates []duplicate
	// clean is the text without its broken lines, of the same length.
	clean []byte
}

type duplicate struct {
	path, message, remedy string
	at                    span
	value                 *node // what was not taken; may be nil
}

// brokenLine is a line `key = value` whose value is no TOML.
type brokenLine struct {
	keys       []string
	key, value span
	end        int // of the line
	text       string
	complaint  string
}

// maxBroken bounds the work on a file that is something else altogether.
const maxBroken = 100

// parse makes a tree of the text, or says why that is impossible.
func parse(src []byte) (*tree, []Problem) {
	if !utf8.Valid(src) {
		at := 0
		for b := src; ; {
			r, n := utf8.DecodeRune(b)
			if r == utf8.RuneError && n <= 1 {
				break
			}
			at, b = at+n, b[n:]
		}
		return nil, []Problem{{
			Message: "not UTF-8 text", Remedy: "save the file as UTF-8, without another encoding", at: span{at, at + 1},
		}}
	}
	clean := slices.Clip(bytes.Clone(src)) // the parser takes capacity for position
	var broken []brokenLine
	for {
		at, begin, message, ok := syntaxError(clean)
		if !ok {
			break
		}
		b, ok := findBroken(clean, at, begin, message)
		if !ok || len(broken) == maxBroken {
			if first, _ := position(clean, begin); first < lineNumber(clean, at) {
				message += fmt.Sprintf("; the value begins in line %d", first)
			}
			problems := make([]Problem, 0, len(broken)+1)
			for _, b := range broken {
				problems = append(problems, Problem{Message: b.complaint, Remedy: remedyQuotes, at: b.key})
			}
			return nil, append(problems, Problem{Message: message, Remedy: syntaxRemedy(message), at: at})
		}
		broken = append(broken, b)
	}
	t := &tree{clean: clean}
	t.build(broken)
	return t, nil
}

const remedyQuotes = "put text in quotes, and close them on the same line"

func syntaxRemedy(message string) string {
	switch {
	case strings.Contains(message, "array"):
		return `separate the entries of a list with commas and close it: ["a", "b"]`
	case strings.Contains(message, "inline table"):
		return `separate the entries with commas and close the table: { env = "NAME" }`
	}
	return `every line is key = value, [table] or [[table]], and text is in quotes`
}

// syntaxError is the first place where the text is no TOML, and where the
// expression begins that it is in.
func syntaxError(src []byte) (at span, begin int, message string, ok bool) {
	var p unstable.Parser
	p.Reset(src)
	end := 0
	for p.NextExpression() {
		e := p.Expression()
		end = int(e.Raw.Offset + e.Raw.Length)
		if e.Kind != unstable.KeyValue {
			keys := keyParts(e)
			end = keys[len(keys)-1].at.end
		}
	}
	err := p.Error()
	if err == nil {
		return span{}, 0, "", false
	}
	perr, ok := errors.AsType[*unstable.ParserError](err)
	if !ok {
		return span{}, 0, err.Error(), true
	}
	r := p.Range(perr.Highlight)
	at = span{int(r.Offset), int(r.Offset) + max(1, int(r.Length))}
	return at, nextExpression(src, end), perr.Message, true
}

// nextExpression is where the line begins that holds the next expression after
// one that ends at an offset; 0 for the first.
func nextExpression(src []byte, end int) int {
	begin := end
	for begin < len(src) {
		line, _, more := bytes.Cut(src[begin:], []byte("\n"))
		text := bytes.TrimSpace(line)
		over := begin == end && end > 0 || len(text) == 0 || text[0] == '#'
		if !over || !more {
			break
		}
		begin += len(line) + 1
	}
	return begin
}

var (
	keyShape  = `(?:[A-Za-z0-9_-]+|"[^"\\]*"|'[^']*')`
	lineShape = regexp.MustCompile(`^[ \t]*(` + keyShape + `(?:[ \t]*\.[ \t]*` + keyShape + `)*)[ \t]*=[ \t]*(.*?)[ \t]*$`)
	keyPart   = regexp.MustCompile(keyShape)
)

// findBroken takes the line at the error out of the text, if all that is wrong is
// the value on that line; begin is where the expression begins.
func findBroken(clean []byte, at span, begin int, complaint string) (brokenLine, bool) {
	line := lineOf(clean, at.start)
	start, end := line.start, line.end
	if start != begin {
		return brokenLine{}, false // inside of a value of several lines
	}
	m := lineShape.FindSubmatchIndex(clean[start:end])
	if m == nil {
		return brokenLine{}, false
	}
	b := brokenLine{
		key:       span{start + m[2], start + m[3]},
		value:     span{start + m[4], start + m[5]},
		end:       end,
		complaint: complaint,
	}
	text := string(clean[b.value.start:b.value.end])
	for _, opening := range []string{"[", "{", `"""`, `'''`} {
		if strings.HasPrefix(text, opening) { // may go on in the next lines
			return brokenLine{}, false
		}
	}
	if !strings.HasPrefix(text, `"`) && !strings.HasPrefix(text, `'`) {
		text, _, _ = strings.Cut(text, "#")
		text = strings.TrimRight(text, " \t")
		b.value.end = b.value.start + len(text)
	}
	b.text = text
	for _, part := range keyPart.FindAllString(string(clean[b.key.start:b.key.end]), -1) {
		b.keys = append(b.keys, strings.Trim(part, `"'`))
	}
	for i := start; i < end; i++ {
		clean[i] = ' '
	}
	return b, true
}

// libraryError is what the library's decoder says about the text as a whole.
func libraryError(src []byte) (span, string, bool) {
	var v map[string]any
	err := toml.Unmarshal(src, &v)
	if err == nil {
		return span{}, "", false
	}
	message := strings.TrimPrefix(err.Error(), "toml: ")
	derr, ok := errors.AsType[*toml.DecodeError](err)
	if !ok {
		return span{}, message, true
	}
	row, column := derr.Position()
	at := 0
	for range row - 1 {
		at += bytes.IndexByte(src[at:], '\n') + 1
	}
	at = min(at+column-1, len(src))
	return span{at, min(at+1, len(src))}, message, true
}

// build makes the tree of text that has no syntax errors.
func (t *tree) build(broken []brokenLine) {
	t.root = newTable(span{}, span{})
	t.root.header = true
	current, currentPath := t.root, ""
	takeBroken := func(before int) {
		for len(broken) > 0 && broken[0].key.start < before {
			b := broken[0]
			broken = broken[1:]
			t.comments = append(t.comments, span{b.value.end, b.end})
			child := &node{kind: brokenNode, key: b.key, value: b.value, text: b.text, complaint: b.complaint}
			keys := make([]part, len(b.keys))
			for i, k := range b.keys {
				keys[i] = part{k, b.key}
			}
			t.set(current, currentPath, keys, child)
		}
	}
	var p unstable.Parser
	p.KeepComments = true
	p.Reset(t.clean)
	for p.NextExpression() {
		e := p.Expression()
		if e.Kind == unstable.Comment {
			t.comment(e)
			continue
		}
		if after := e.Next(); after != nil && after.Kind == unstable.Comment {
			t.comment(after)
		}
		keys := keyParts(e)
		if t.root.key.len() == 0 {
			t.root.key = keys[0].at
		}
		takeBroken(keys[0].at.start)
		switch e.Kind {
		case unstable.Table, unstable.ArrayTable:
			current, currentPath = t.enter(keys, e.Kind == unstable.ArrayTable)
		case unstable.KeyValue:
			t.set(current, currentPath, keys, t.value(&p, e, currentPath))
		}
	}
	takeBroken(len(t.clean) + 1)
}

// comment notes a comment and those that hang on it.
func (t *tree) comment(n *unstable.Node) {
	t.comments = append(t.comments, span{int(n.Raw.Offset), int(n.Raw.Offset + n.Raw.Length)})
	for it := n.Children(); it.Next(); {
		t.comment(it.Node())
	}
}

type part struct {
	name string
	at   span
}

func keyParts(e *unstable.Node) []part {
	var parts []part
	for it := e.Key(); it.Next(); {
		k := it.Node()
		parts = append(parts, part{string(k.Data), span{int(k.Raw.Offset), int(k.Raw.Offset + k.Raw.Length)}})
	}
	return parts
}

// value makes the node of `key = value`.
func (t *tree) value(p *unstable.Parser, kv *unstable.Node, path string) *node {
	keys := keyParts(kv)
	for _, k := range keys {
		path = join(path, k.name)
	}
	key := span{keys[0].at.start, keys[len(keys)-1].at.end}
	end := int(kv.Raw.Offset + kv.Raw.Length)
	start := key.end
	for start < end && (t.clean[start] == ' ' || t.clean[start] == '\t' || t.clean[start] == '=') {
		start++
	}
	return t.anyValue(p, kv.Value(), path, key, span{start, end})
}

func (t *tree) anyValue(p *unstable.Parser, v *unstable.Node, path string, key, value span) *node {
	if v.Raw.Length > 0 && v.Kind != unstable.InlineTable {
		value = span{int(v.Raw.Offset), int(v.Raw.Offset + v.Raw.Length)}
	}
	switch v.Kind {
	case unstable.InlineTable:
		n := newTable(key, value)
		n.header = true
		for it := v.Children(); it.Next(); {
			c := it.Node()
			if c.Kind == unstable.Comment {
				t.comment(c)
				continue
			}
			t.set(n, path, keyParts(c), t.value(p, c, path))
		}
		return n
	case unstable.Array:
		n := &node{kind: listNode, key: key, value: value}
		for it := v.Children(); it.Next(); {
			c := it.Node()
			if c.Kind == unstable.Comment {
				t.comment(c)
				continue
			}
			n.items = append(n.items, t.anyValue(p, c, entry(path, len(n.items)), key, value))
		}
		return n
	}
	return &node{kind: scalarNode, key: key, value: value, text: string(v.Data), scalar: v.Kind}
}

// enter finds or makes the table of a header.
func (t *tree) enter(keys []part, list bool) (*node, string) {
	n, path := t.descend(t.root, "", keys[:len(keys)-1])
	last := keys[len(keys)-1]
	at := span{keys[0].at.start, last.at.end}
	path = join(path, last.name)
	have := n.fields[last.name]
	switch {
	case have == nil && list:
		have = &node{kind: tablesNode, key: at}
		n.put(last.name, have)
	case have == nil:
		have = newTable(at, span{})
		have.header = true
		n.put(last.name, have)
		return have, path
	case list && have.kind == tablesNode:
	case !list && have.kind == tableNode && !have.header:
		have.header, have.key = true, at
		return have, path
	default:
		d := duplicate{path: path, at: at, message: "given a second time; the first is in " + t.lineOf(have.key), remedy: "write both as one"}
		if have.kind == tablesNode {
			d.remedy = fmt.Sprintf("write [[%s]], with double brackets, for one more of them", path)
		}
		t.duplicates = append(t.duplicates, d)
		switch have.kind {
		case tableNode:
			return have, path
		case tablesNode:
			return have.items[len(have.items)-1], entry(path, len(have.items)-1)
		default:
			return newTable(at, span{}), path
		}
	}
	item := newTable(at, span{})
	item.header = true
	have.items = append(have.items, item)
	return item, entry(path, len(have.items)-1)
}

// descend walks along the keys, making tables where there are none.
func (t *tree) descend(n *node, path string, keys []part) (*node, string) {
	for i, k := range keys {
		path = join(path, k.name)
		next := n.fields[k.name]
		switch {
		case next == nil:
			next = newTable(span{keys[0].at.start, keys[i].at.end}, span{})
			n.put(k.name, next)
		case next.kind == tablesNode:
			path = entry(path, len(next.items)-1)
			next = next.items[len(next.items)-1]
		case next.kind != tableNode:
			t.duplicates = append(t.duplicates, duplicate{
				path: path, at: k.at,
				message: "is not a table in " + t.lineOf(next.key),
				remedy:  "write it once, as a value or as a table",
			})
			next = newTable(k.at, span{})
		}
		n = next
	}
	return n, path
}

// set puts a value into a table.
func (t *tree) set(n *node, path string, keys []part, value *node) {
	n, path = t.descend(n, path, keys[:len(keys)-1])
	name := keys[len(keys)-1].name
	if have := n.fields[name]; have != nil {
		t.duplicates = append(t.duplicates, duplicate{
			path: join(path, name), at: value.key, value: value,
			message: "given a second time; the first is in " + t.lineOf(have.key),
			remedy:  "remove one of the two",
		})
		return
	}
	n.put(name, value)
}

func (t *tree) lineOf(s span) string {
	return fmt.Sprintf("line %d", lineNumber(t.clean, s))
}

func lineNumber(src []byte, s span) int {
	line, _ := position(src, s.start)
	return line
}

var bareKey = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// maxPath bounds the length of paths: a file may nest thousands of tables, and
// the paths of all of them would fill the memory.
const maxPath = 200

// join makes the path of a key inside of a table.
func join(path, name string) string {
	if !bareKey.MatchString(name) {
		name = fmt.Sprintf("%q", name)
	}
	switch {
	case path == "":
		return clip(name)
	case len(path) > maxPath:
		return path
	}
	return path + "." + clip(name)
}

// entry makes the path of the i-th entry of a list.
func entry(path string, i int) string {
	if len(path) > maxPath {
		return path
	}
	return fmt.Sprintf("%s[%d]", path, i)
}

// indexForm finds the "[0]" of paths.
var indexForm = regexp.MustCompile(`\[[0-9]+\]`)
