package main

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/pelletier/go-toml/v2"

	"github.com/ssg-safe/agent/internal/config"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/printer"
)

var update = flag.Bool("update", false, "rewrite golden files and docs/configuration.md")

// goldenFile holds text against a file, or writes it with -update.
func goldenFile(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (write it with -update)", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-file +now; rewrite with -update):\n%s", path, diff)
	}
}

// decodeConfig decodes and validates text as loadConfig does a file, with an
// environment of its own.
func decodeConfig(name string, text []byte, env map[string]string) (Config, *config.File) {
	var c Config
	f := config.Decode(name, text, &c, config.Options{LookupEnv: func(name string) (string, bool) {
		v, ok := env[name]
		return v, ok
	}})
	f.Report(c.Validate()...)
	return c, f
}

const testSecret = "the-client-secret"

// loadExample loads a file of configs/ on a machine that has its secrets.
func loadExample(t *testing.T, path string, change func(string) string) (Config, *config.File) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	secrets := t.TempDir()
	for name, text := range map[string]string{
		"ssg.secret": testSecret, "mqtt.password": testSecret, "bacen.secret": testSecret, "bacen.app_key": testSecret, "bspay.secret": testSecret,
		"bspaybr.secret": testSecret, "bspaybr.key": testSecret, "basspago.secret": testSecret,
		"api-pdv.token": strings.Repeat("0123456789abcdef", 4), "facade-cofre.secret": strings.Repeat("fedcba9876543210", 4), "operator-12.pin": demoHash,
		"bacen.pem": clientPair(t, 365*24*time.Hour),
	} {
		if err := os.WriteFile(filepath.Join(secrets, name), []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := strings.ReplaceAll(string(text), `"/etc/ssg-agent/secrets/`, fmt.Sprintf("%q", secrets+"/")[:len(secrets)+2])
	return decodeConfig(path, []byte(change(s)), map[string]string{
		"SSG_CLIENT_SECRET": testSecret, "CREDENTIALS_DIRECTORY": secrets, "SSG_API_TOKEN": strings.Repeat("0123456789abcdef", 4),
	})
}

// examples are the files of configs/ that are an agent's.
func examples(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("../../configs/*.toml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	return slices.DeleteFunc(files, func(path string) bool { return strings.HasPrefix(filepath.Base(path), "hub") })
}

func unchanged(s string) string { return s }

// Without any of its secrets an example says what commands need that use none.
func TestExamplesWithoutSecrets(t *testing.T) {
	for _, path := range examples(t) {
		c, err := loadSettings(path)
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
		if len(c.Providers) == 0 || c.Providers[0].ClientSecret.Value != "" {
			t.Errorf("%s: got %+v", path, c.Providers)
		}
	}
}

// Every example is a configuration without errors, and its warnings are known.
func TestExamples(t *testing.T) {
	// A real SSG account can mark its own charges as paid: that stays to be said.
	canPay := []string{"provider[0].client_secret: whoever takes it from this terminal can mark charges as paid"}
	want := map[string][]string{
		"../../configs/kiosk-serial.toml":  canPay,
		"../../configs/headless.toml":      canPay,
		"../../configs/simulator.toml":     nil,
		"../../configs/local-api.toml":     nil,
		"../../configs/bank-pix-api.toml":  nil,
		"../../configs/bspay.toml":         nil,
		"../../configs/basspago.toml":      nil,
		"../../configs/two-providers.toml": nil,
		"../../configs/bspaybr.toml":       {"provider[0].client_secret: whoever takes it from this terminal can send the account's money away"},
	}
	files := examples(t)
	if len(files) != len(want) {
		t.Errorf("%d examples, %d expected", len(files), len(want))
	}
	for _, path := range files {
		c, f := loadExample(t, path, unchanged)
		if err := f.Err(); err != nil {
			t.Error(err)
		}
		var warnings []string
		for _, p := range f.Problems() {
			warnings = append(warnings, p.Path+": "+p.Message)
		}
		if diff := cmp.Diff(want[path], warnings); diff != "" {
			t.Errorf("%s: warnings (-want +got):\n%s", path, diff)
		}
		if got := c.Providers[0].ClientSecret.Value.Reveal(); got != testSecret {
			t.Errorf("%s: the secret is %q", path, got)
		}
	}
}

// The values of one example, as the program sees them: nothing lost its zeros,
// signs, accents or units.
func TestExampleValues(t *testing.T) {
	c, _ := loadExample(t, "../../configs/headless.toml", unchanged)
	m, ok := c.Merchant("")
	if !ok {
		t.Fatal("no merchant")
	}
	got := []any{
		c.Version, c.Terminal.Code, c.Terminal.MinAmount, c.Terminal.MaxAmount, c.Terminal.ChargeExpiry,
		m.CNPJ, m.PixKey, m.CutOff, m.Zone().String(), c.Store.Size, c.Printer.Address, c.Display.Kind,
	}
	want := []any{
		1, "H001", money.Amount(100), money.Amount(30000), 10 * time.Minute,
		"12ABC34501DE35", "123e4567-e12b-12d1-a456-426655440000", TimeOfDay(6 * time.Hour), "America/Manaus",
		config.Size(128 << 20), "192.168.1.50:9100", "none",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("values (-want +got):\n%s", diff)
	}
	if _, ok := c.Merchant("padaria"); ok {
		t.Error("found a merchant that is not there")
	}
	if p, ok := c.Provider(m.Provider); !ok || ssgConfig(p).LocationHosts[0] != "pix.example.com" {
		t.Error("the merchant's provider is not found")
	}
	if got := m.CutOff.String(); got != "06:00" {
		t.Errorf("cut-off %s", got)
	}
}

// hash is a key that an example shows with its default.
var hash = regexp.MustCompile(`(?m)^#([a-z_]+ = )`)

// The examples show every key there is, the full one all that every terminal has,
// and a key behind a "#" with its default: removing all of them changes nothing.
func TestFullExample(t *testing.T) {
	files := examples(t)
	var trees []map[string]any
	for _, path := range files {
		without, _ := loadExample(t, path, unchanged)
		with, f := loadExample(t, path, func(s string) string { return hash.ReplaceAllString(s, "$1") })
		if err := f.Err(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(plain(without), plain(with)); diff != "" {
			t.Errorf("%s: the defaults it shows are not those of the program (-program +file):\n%s", path, diff)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var tree map[string]any
		if err := toml.Unmarshal(hash.ReplaceAll(text, []byte("$1")), &tree); err != nil {
			t.Fatal(err)
		}
		if trees = append(trees, tree); strings.HasSuffix(path, "kiosk-serial.toml") {
			trees[0], trees[len(trees)-1] = tree, trees[0]
		}
	}
	for _, k := range keysOf(reflect.TypeFor[Config](), "") {
		if k == "provider.bspay.signing_key" {
			continue // nothing for a terminal: its example explains it
		}
		in := trees[:1]
		for _, f := range families {
			if own := "provider." + f.name; k == own || strings.HasPrefix(k, own+".") || strings.HasPrefix(k, "merchant.route") {
				in = trees
			}
		}
		if !slices.ContainsFunc(in, func(tree map[string]any) bool { return shows(tree, strings.Split(k, ".")) }) {
			t.Errorf("no example shows %s", k)
		}
	}
}

// plain is a configuration for comparison: the redacting types would compare as
// what they print, and every load has secrets in a folder of its own.
func plain(c Config) string {
	s := fmt.Sprintf("%+v", c)
	for _, p := range c.Providers {
		s += fmt.Sprintf(" %s %+v %+v", p.ClientSecret.Name, p.Payer, p.Bacen)
	}
	return regexp.MustCompile(`0x[0-9a-f]+|/\d{3}/`).ReplaceAllString(s, "")
}

func shows(tree any, path []string) bool {
	if list, ok := tree.([]any); ok && len(list) > 0 && len(path) > 0 {
		tree = list[0]
	}
	if len(path) == 0 {
		return true
	}
	table, ok := tree.(map[string]any)
	if !ok {
		return false
	}
	next, ok := table[path[0]]
	return ok && shows(next, path[1:])
}

// keysOf lists the paths of all keys, without the indices of lists.
func keysOf(t reflect.Type, path string) []string {
	var keys []string
	for i := range t.NumField() {
		f := t.Field(i)
		at := strings.TrimPrefix(path+"."+f.Tag.Get("toml"), ".")
		keys = append(keys, at)
		if sub := tableOf(f.Type); sub != nil {
			keys = append(keys, keysOf(sub, at)...)
		}
	}
	return keys
}

// tableOf is the struct of a table or list of tables.
func tableOf(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Slice || t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() == reflect.Struct && t != reflect.TypeFor[config.Secret]() {
		return t
	}
	return nil
}

// docs/configuration.md is the comments, defaults and limits of the structs in
// config.go.
func TestConfigurationReference(t *testing.T) {
	const path, mark = "../../docs/configuration.md", "<!-- The rest is made from cmd/agent/config.go by go test ./cmd/agent -update -->\n"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, _, ok := strings.Cut(string(text), mark)
	if !ok {
		t.Fatalf("%s has lost the line %s", path, mark)
	}
	var b strings.Builder
	b.WriteString(head + mark)
	describe(&b, structDocs(t), reflect.TypeFor[Config](), "")
	goldenFile(t, path, b.String())
}

// structDocs finds the comments of structs ("Config") and fields ("Config.Data").
func structDocs(t *testing.T) map[string]string {
	paths, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	docs := map[string]string{}
	for _, path := range paths {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		addDocs(docs, file)
	}
	return docs
}

func addDocs(docs map[string]string, file *ast.File) {
	ast.Inspect(file, func(n ast.Node) bool {
		d, ok := n.(*ast.GenDecl)
		if !ok || d.Tok != token.TYPE {
			return true
		}
		spec := d.Specs[0].(*ast.TypeSpec)
		name := spec.Name.Name
		_, is, _ := strings.Cut(strings.Join(strings.Fields(d.Doc.Text()), " "), " is ")
		if is != "" {
			docs[name] = strings.ToUpper(is[:1]) + is[1:]
		}
		if s, ok := spec.Type.(*ast.StructType); ok {
			for _, f := range s.Fields.List {
				for _, n := range f.Names {
					docs[name+"."+n.Name] = strings.Join(strings.Fields(f.Doc.Text()), " ")
				}
			}
		}
		return true
	})
}

// describe writes the reference of a struct and of the tables in it.
func describe(b *strings.Builder, docs map[string]string, t reflect.Type, path string) {
	var tables []reflect.StructField
	for i := range t.NumField() {
		f := t.Field(i)
		if tableOf(f.Type) != nil {
			tables = append(tables, f)
			continue
		}
		facts := []string{typeWords(f)}
		if f.Tag.Get("required") == "true" {
			facts = append(facts, "required")
		}
		if def, ok := f.Tag.Lookup("default"); ok {
			facts = append(facts, "default `"+written(f, def)+"`")
		}
		if words := strings.Fields(f.Tag.Get("oneof")); len(words) > 0 {
			facts = append(facts, `one of "`+strings.Join(words, `", "`)+`"`)
		}
		least, most := f.Tag.Get("min"), f.Tag.Get("max")
		switch {
		case least != "" && most != "":
			facts = append(facts, "from "+least+" to "+most)
		case most != "" && f.Type.Kind() == reflect.Slice:
			facts = append(facts, "at most "+most+" entries")
		case most != "":
			facts = append(facts, "at most "+most+" characters")
		}
		fmt.Fprintf(b, "\n- **`%s`** (%s). %s\n", f.Tag.Get("toml"), strings.Join(facts, ", "), docs[t.Name()+"."+f.Name])
	}
	for _, f := range tables {
		at := strings.TrimPrefix(path+"."+f.Tag.Get("toml"), ".")
		header := "[" + at + "]"
		if f.Type.Kind() == reflect.Slice {
			header = "[[" + at + "]]"
		}
		sub := tableOf(f.Type)
		fmt.Fprintf(b, "\n## %s\n\n%s\n", header, docs[sub.Name()])
		describe(b, docs, sub, at)
	}
}

func typeWords(f reflect.StructField) string {
	switch f.Type {
	case reflect.TypeFor[time.Duration]():
		return "duration"
	case reflect.TypeFor[config.Size]():
		return "size"
	case reflect.TypeFor[money.Amount]():
		return "amount"
	case reflect.TypeFor[config.Secret]():
		return "secret"
	case reflect.TypeFor[TimeOfDay]():
		return "time of day"
	}
	switch f.Type.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		return "number"
	case reflect.Slice:
		return "list of text"
	}
	return "text"
}

// written is a default as a file would have it.
func written(f reflect.StructField, def string) string {
	switch {
	case f.Type.Kind() == reflect.Bool, f.Type.Kind() == reflect.Int:
		return def
	}
	return fmt.Sprintf("%q", def)
}

// No key may be added without saying what it is for.
func TestEveryKeyIsDescribed(t *testing.T) {
	docs := structDocs(t)
	var walk func(reflect.Type)
	walk = func(s reflect.Type) {
		for i := range s.NumField() {
			f := s.Field(i)
			sub := tableOf(f.Type)
			if sub != nil {
				walk(sub)
			} else if docs[s.Name()+"."+f.Name] == "" {
				t.Errorf("%s.%s has no comment", s.Name(), f.Name)
			}
			if sub != nil && docs[sub.Name()] == "" {
				t.Errorf(`the comment of %s does not begin with "%[1]s is …"`, sub.Name())
			}
		}
	}
	walk(reflect.TypeFor[Config]())
}

// The default configuration passes every check but those for what has no default.
func TestDefaultsAreValid(t *testing.T) {
	c := defaultConfig()
	c.Version = 1
	for _, p := range c.Validate() {
		t.Errorf("%s: %s", p.Path, p.Message)
	}
	if _, err := printer.ProfileByName(c.Printer.Profile); err != nil {
		t.Error(err)
	}
}

// testdata/broken holds configurations that people write, each beside what they
// are told.
func TestBroken(t *testing.T) {
	files, err := filepath.Glob("testdata/broken/*.toml")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 30 {
		t.Fatalf("only %d broken configurations", len(files))
	}
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".toml"), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			_, f := decodeConfig(path, text, map[string]string{"SSG_CLIENT_SECRET": testSecret})
			var b strings.Builder
			for _, p := range f.Problems() {
				b.WriteString(p.String() + "\n\n")
				if p.Remedy == "" || p.Line == 0 || p.Column == 0 {
					t.Errorf("without place or remedy: %+v", p)
				}
			}
			b.WriteString(config.Count(f.Problems()) + "\n")
			goldenFile(t, strings.TrimSuffix(path, ".toml")+".golden", b.String())
			if len(f.Problems()) == 0 {
				t.Error("nothing is wrong with it")
			}
			for _, canary := range []string{"hunter2", testSecret} {
				if strings.Contains(b.String(), canary) {
					t.Errorf("shows the secret %s", canary)
				}
			}
		})
	}
}

// Whatever a configuration holds, checking it ends, and every problem has a place
// in the file.
func FuzzConfig(f *testing.F) {
	for _, pattern := range []string{"testdata/broken/*.toml", "../../configs/*.toml"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			f.Fatalf("no seeds in %s: %v", pattern, err)
		}
		for _, path := range files {
			text, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, file := decodeConfig("f.toml", text, map[string]string{"SSG_CLIENT_SECRET": testSecret})
		lines := bytes.Count(text, []byte("\n")) + 1
		for _, p := range file.Problems() {
			if p.Line < 1 || p.Line > lines || p.Column < 1 || p.Message == "" || p.Severity == "" {
				t.Errorf("a problem without a place: %+v", p)
			}
			if strings.Contains(p.String(), testSecret) {
				t.Errorf("shows the secret: %s", p)
			}
		}
		if file.Err() != nil {
			return
		}
		// What was accepted can be used.
		m, ok := c.Merchant("")
		if !ok || m.PixKey == "" || m.CNPJ == "" {
			t.Errorf("accepted without a merchant: %+v", c)
		}
		routes, err := openRoutes(c, nil, time.Now, slog.New(slog.DiscardHandler))
		if err != nil || routes[m.Provider] == nil {
			t.Errorf("accepted without a provider: %v, %+v", err, c)
		}
	})
}
