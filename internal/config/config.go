// Package config reads a TOML file into a struct and says everything that is
// wrong with it at once, each thing with file, line, column, a caret under the
// place, and a remedy.
//
// The caller declares a struct; its tags are the schema ([Decode] lists them),
// so that a key's name, default and limits stand in one place and the reference
// documentation can be made from it. [Load] fills in the defaults, decodes the
// file over them and returns a [File]; the caller checks what spans several keys
// and hands its findings, named by path, to [File.Report], which finds their
// places. [File.Err] is nil when the file can be used.
//
// # Why not the library's own decoder
//
// pelletier/go-toml decodes strictly, but it stops at the first value of a wrong
// type, and its excerpts show lines as they are, secrets included. A terminal in
// the field gets its configuration by telephone: twelve mistakes are to be told
// in one go. So the library's parser (package unstable; only parse.go knows it)
// makes a tree of values with positions, and decode.go walks struct and tree
// together. At the end the library decodes the same text once more into a map,
// so that nothing is accepted here that the library would refuse.
//
// A value that is broken TOML, most often text without quotes, spoils one line
// only: the line is blanked, the tree keeps a marker in its place, and the rest is
// checked. Other syntax errors leave no tree to check; they are reported alone.
//
// # What is never done
//
// A number is never turned into text, nor text into a number: a key or document
// number would lose its zeros or its plus sign. Amounts are centavos or decimal
// text, never floats. Durations and sizes have a unit. A secret is only ever a
// reference ([Secret]). Neither messages nor excerpts show the values of secrets,
// of fields that hold personal data, of keys that are not known (a misspelt
// client_secret is one) or of comments.
package config

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// maxFile is the size in bytes of the largest file that is read.
const maxFile = 256 << 10

// Severity says whether a problem keeps a configuration from being used.
type Severity string

// The severities.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
)

// Problem is one thing wrong with a configuration.
type Problem struct {
	Severity Severity `json:"severity"`
	File     string   `json:"file"`
	// Line and Column count from 1; columns are characters, not bytes.
	Line   int `json:"line"`
	Column int `json:"column"`
	// Path is the place in the configuration, such as "merchant[0].pix_key";
	// empty when the text is no TOML.
	Path    string `json:"path"`
	Message string `json:"message"`
	// Remedy is what to do about it; may be empty.
	Remedy string `json:"remedy,omitempty"`
	// Excerpt is the line with a caret under the place, secrets and personal
	// data hidden.
	Excerpt string `json:"excerpt,omitempty"`

	at span
}

// String is the problem for people, on several lines without a newline at the
// end.
func (p Problem) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d:%d: %s: ", p.File, p.Line, p.Column, p.Severity)
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	b.WriteString(p.Message)
	if p.Excerpt != "" {
		b.WriteString("\n" + p.Excerpt)
	}
	if p.Remedy != "" {
		b.WriteString("\n  remedy: " + p.Remedy)
	}
	return b.String()
}

// Invalid is the error of a configuration that cannot be used.
type Invalid struct {
	File string
	// Problems holds warnings too, in the order of the file.
	Problems []Problem
}

// Error lists all problems.
func (e *Invalid) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", e.File, Count(e.Problems))
	for _, p := range e.Problems {
		b.WriteString("\n\n" + p.String())
	}
	return b.String()
}

// Count says how many problems there are: "2 errors, 1 warning", or "no
// problems".
func Count(problems []Problem) string {
	var parts []string
	for _, s := range []Severity{Error, Warning} {
		n := 0
		for _, p := range problems {
			if p.Severity == s {
				n++
			}
		}
		switch {
		case n == 1:
			parts = append(parts, fmt.Sprintf("1 %s", s))
		case n > 1:
			parts = append(parts, fmt.Sprintf("%d %ss", n, s))
		}
	}
	if len(parts) == 0 {
		return "no problems"
	}
	return strings.Join(parts, ", ")
}

// Options is what decoding needs from outside of the file.
type Options struct {
	// LookupEnv finds environment variables; nil means there are none.
	LookupEnv func(name string) (string, bool)
	// OutsideUnit makes a warning instead of an error of a systemd credential
	// that cannot be looked at because there is no $CREDENTIALS_DIRECTORY:
	// a check by hand runs outside of the unit that provides it.
	OutsideUnit bool
	// WithoutSecrets leaves secrets unread: only the form of what refers to them is
	// checked, and their values are empty. For commands that use none.
	WithoutSecrets bool
}

// File is a configuration file that was read, with what is wrong with it. It is
// used by one goroutine.
type File struct {
	Name string

	src      []byte
	index    map[string]*node
	hidden   []hiddenSpan
	blind    bool // there is no tree: nobody knows which values are secret
	failed   map[string]bool
	problems []Problem
}

// Load reads the file at path into the struct that dst points at, defaults
// first, as [Decode] does. The error is not nil only when the file cannot be
// read at all; what is wrong with its content is in the File.
func Load(path string, dst any, opts Options) (*File, error) {
	src, mode, err := readFile(path, maxFile)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	f := Decode(path, src, dst, opts)
	if mode&0o002 != 0 {
		f.problems = append(f.problems, Problem{
			Severity: Warning,
			Message:  "every user of this machine can change this file, and with it the account that money goes to",
			Remedy:   "chmod o-w " + path,
		})
	}
	return f, nil
}

// readFile reads a regular file of at most max bytes.
func readFile(path string, max int64) ([]byte, os.FileMode, error) {
	// A pipe must not make us wait for its other end.
	r, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, 0, err
	}
	defer r.Close()
	info, err := r.Stat()
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("%s is not a regular file", path)
	}
	src, err := io.ReadAll(io.LimitReader(r, max+1))
	if err != nil {
		return nil, 0, err
	}
	if int64(len(src)) > max {
		return nil, 0, fmt.Errorf("%s is larger than %d bytes", path, max)
	}
	return src, info.Mode(), nil
}

// Decode reads TOML text into the struct that dst points at; name is the file's
// name in problems. Fields that the text does not mention keep their defaults.
//
// Fields are strings (and types made of string), bool, int, int64,
// [time.Duration], [money.Amount], [Size], [Secret], types with UnmarshalText,
// structs, pointers to structs (nil when the table is absent), and slices of
// strings or structs. Their tags:
//
//	toml:"name"       the key
//	default:"text"    the value when the key is absent
//	required:"true"   the key must be there and not be empty
//	example:"text"    shown when a required key is absent
//	oneof:"a b c"     the words that a string may be
//	min:"1" max:"9"   limits: of numbers, amounts, durations and sizes the
//	                  value, of text its characters, of slices their entries
//	mask:"true"       personal: the value does not appear in excerpts or messages
//	                  (nor do those of types of package redact)
//	whole:"true"      of a secret: it is a file of many lines, such as a private
//	                  key, and not a word
//	inline:"true"     of a secret: it may stand in the file itself
//
// Decode panics when a tag or a type is none of these: that is a mistake in the
// program, which any test finds.
func Decode(name string, src []byte, dst any, opts Options) *File {
	src = bytes.TrimPrefix(src, []byte("\xef\xbb\xbf"))
	f := &File{Name: name, src: src, index: map[string]*node{}, failed: map[string]bool{}}
	Defaults(dst)
	t, syntax := parse(src)
	if t == nil {
		f.blind = true
		f.problems = syntax
		return f
	}
	d := &decoder{file: f, opts: opts}
	for _, c := range t.comments {
		f.hidden = append(f.hidden, hiddenSpan{span: c, how: drop})
	}
	for _, dup := range t.duplicates {
		f.hide(dup.value, unknown)
		f.problems = append(f.problems, Problem{Severity: Error, Path: dup.path, Message: dup.message, Remedy: dup.remedy, at: dup.at})
		f.failed[dup.path] = true
	}
	f.record("", t.root)
	d.decode(t.root, dst)
	f.arbitrate(t.clean)
	return f
}

// arbitrate lets the library judge the text; its error is reported unless the
// same line already has a problem.
func (f *File) arbitrate(clean []byte) {
	if len(f.problems) >= maxProblems {
		return // nothing is accepted anyway, and the library takes seconds over such files
	}
	at, message, ok := libraryError(clean)
	if !ok {
		return
	}
	line := lineOf(f.src, at.start)
	for _, p := range f.problems {
		if line.start <= p.at.start && p.at.start <= line.end {
			return
		}
	}
	f.problems = append(f.problems, Problem{Severity: Error, Message: message, Remedy: "write every key and table once, and values as TOML has them", at: at})
}

// record notes the place of every value by its path.
func (f *File) record(path string, n *node) {
	if f.index[path] != nil { // cut off by maxPath
		return
	}
	f.index[path] = n
	for _, name := range n.names {
		f.record(join(path, name), n.fields[name])
	}
	for i, item := range n.items {
		f.record(entry(path, i), item)
	}
}

// Report adds problems that the caller found; Path says where, Severity defaults
// to [Error]. Where the path is not in the file, the nearest table around it is
// shown. A problem at a path that could not be decoded is dropped: it would only
// say that the value is missing.
func (f *File) Report(problems ...Problem) {
	if f.blind {
		return
	}
	for _, p := range problems {
		if f.failed[p.Path] {
			continue
		}
		p.at = f.locate(p.Path)
		f.problems = append(f.problems, p)
	}
}

// locate finds the place of a path, or of what encloses it.
func (f *File) locate(path string) span {
	for {
		if n := f.index[path]; n != nil {
			if n.value.len() > 0 {
				return n.value
			}
			return n.key
		}
		i := strings.LastIndexAny(path, ".[")
		if i < 0 {
			return span{}
		}
		path = path[:i]
	}
}

// maxProblems is how many problems are told apart. A file with more is no
// configuration; the last problem then counts the rest.
const maxProblems = 200

// Problems returns everything that is wrong, in the order of the file.
func (f *File) Problems() []Problem {
	out := slices.Clone(f.problems)
	slices.SortStableFunc(out, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.at.start, b.at.start), cmp.Compare(a.Path, b.Path))
	})
	if more := len(out) - maxProblems; more > 0 {
		rest := out[maxProblems:]
		last := Problem{Severity: Warning, Message: fmt.Sprintf("%d more problems from here on", more), at: rest[0].at}
		if slices.ContainsFunc(rest, func(p Problem) bool { return p.Severity != Warning }) {
			last.Severity = Error
		}
		out = append(out[:maxProblems], last)
	}
	for i := range out {
		p := &out[i]
		p.Severity = cmp.Or(p.Severity, Error)
		p.File, p.Message, p.Remedy = f.Name, quotable(p.Message), quotable(p.Remedy)
		p.Line, p.Column = position(f.src, p.at.start)
		p.Excerpt = f.excerpt(p.at)
	}
	return out
}

// Err is an [*Invalid] when there is an error among the problems, and nil when
// there are at most warnings.
func (f *File) Err() error {
	problems := f.Problems()
	if !slices.ContainsFunc(problems, func(p Problem) bool { return p.Severity == Error }) {
		return nil
	}
	return &Invalid{File: f.Name, Problems: problems}
}
