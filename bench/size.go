package main

import (
	"cmp"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

const (
	sizeTarget  = 14 << 20
	agentModule = "github.com/ssg-safe/agent"
)

// targets are the boards the agent is built for.
var targets = []struct {
	name string
	env  []string
}{
	{"linux/arm/v6", []string{"GOOS=linux", "GOARCH=arm", "GOARM=6"}},
	{"linux/arm/v7", []string{"GOOS=linux", "GOARCH=arm", "GOARM=7"}},
	{"linux/arm64", []string{"GOOS=linux", "GOARCH=arm64"}},
	{"linux/amd64", []string{"GOOS=linux", "GOARCH=amd64"}},
}

// measureSize builds the agent for every board and takes the smallest one's
// binary apart.
func measureSize(ctx context.Context, e *env, s *section) error {
	out := [][]string{{"", "stripped", "target"}}
	var small int64
	for _, t := range targets {
		file := filepath.Join(e.dir, "size")
		if err := e.compile(ctx, file, true, t.env); err != nil {
			return err
		}
		info, err := os.Stat(file)
		if err != nil {
			return err
		}
		verdict := ""
		if t.name == "linux/arm/v6" {
			small, verdict = info.Size(), s.target("≤ 14 MiB", info.Size() <= sizeTarget)
		}
		out = append(out, []string{t.name, bytesOf(info.Size()), verdict})
	}
	s.table(out)
	return e.anatomy(ctx, s, small)
}

// anatomy says which module brought what into the arm/v6 binary.
func (e *env) anatomy(ctx context.Context, s *section, stripped int64) error {
	target := targets[0].env
	own, err := e.modules(ctx, target)
	if err != nil {
		return err
	}
	file := filepath.Join(e.dir, "size")
	if err := e.compile(ctx, file, false, target); err != nil {
		return err
	}
	w, err := weigh(file, own)
	if err != nil {
		return err
	}
	type row struct {
		name string
		size int64
	}
	var rows []row
	left := stripped
	for _, name := range slices.Sorted(maps.Values(own)) {
		size := w.code[name] + w.data[name] + w.tables*w.code[name]/w.allCode
		if size > 0 && (len(rows) == 0 || rows[len(rows)-1].name != name) {
			rows = append(rows, row{name, size})
			left -= size
		}
	}
	slices.SortFunc(rows, func(a, b row) int { return cmp.Compare(b.size, a.size) })
	s.say("What is in the linux/arm/v6 binary, by its symbols. The tables of lines and unwinding (%s) are shared out by code.", bytesOf(w.tables))
	out := [][]string{{"part", "size", "share"}}
	line := func(name string, size int64) {
		out = append(out, []string{name, bytesOf(size), fmt.Sprintf("%.1f %%", float64(size)/float64(stripped)*100)})
	}
	small := row{name: "all others together"}
	for _, r := range rows {
		if r.size < 20<<10 {
			small.size += r.size
			continue
		}
		line(r.name, r.size)
	}
	line(small.name, small.size)
	line("types, strings and constants, which name no package", left)
	s.table(out)
	return nil
}

// modules maps every package of the agent to the part it belongs to.
func (e *env) modules(ctx context.Context, target []string) (map[string]string, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-deps", "-f", "{{.ImportPath}} {{with .Module}}{{.Path}}{{end}}", "-tags=nethttpomithttp2", "./cmd/agent")
	cmd.Dir, cmd.Env = e.root, append(append(os.Environ(), "CGO_ENABLED=0"), target...)
	raw, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	own := map[string]string{}
	for line := range strings.Lines(string(raw)) {
		path, module, _ := strings.Cut(strings.TrimSpace(line), " ")
		own[path] = part(path, module)
	}
	if len(own) == 0 {
		return nil, errors.New("go list named no package")
	}
	return own, nil
}

// part names what a package is counted with.
func part(path, module string) string {
	if module != "" {
		return module
	}
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "vendor/"), "/")
	switch {
	case first == "crypto" || strings.HasPrefix(path, "vendor/golang.org/x/crypto"):
		return "Go: crypto, TLS"
	case first == "net" || first == "mime" || strings.HasPrefix(path, "vendor/golang.org/x/net"):
		return "Go: net, HTTP"
	case first == "runtime" || first == "internal" || first == "syscall" || first == "sync" || first == "reflect":
		return "Go: runtime, reflect, syscall"
	case first == "unicode" || strings.HasPrefix(path, "vendor/golang.org/x/text"):
		return "Go: unicode"
	}
	return "Go: all other packages"
}

const noOwner = ""

// weights is what parts have in a binary, in bytes.
type weights struct {
	code, data map[string]int64
	// tables are for the code of all parts, which is allCode.
	tables, allCode int64
}

// weigh sums an ELF file's symbols by part.
func weigh(path string, own map[string]string) (weights, error) {
	w := weights{code: map[string]int64{}, data: map[string]int64{}}
	f, err := elf.Open(path)
	if err != nil {
		return w, err
	}
	defer f.Close()
	symbols, err := f.Symbols()
	if err != nil {
		return w, err
	}
	if lines := f.Section(".gopclntab"); lines != nil {
		w.tables = int64(lines.Size)
	}
	paths := slices.SortedFunc(maps.Keys(own), func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	for _, sym := range symbols {
		if int(sym.Section) >= len(f.Sections) || sym.Size == 0 {
			continue
		}
		section := f.Sections[sym.Section]
		owner := ownerOf(sym.Name, paths, own)
		switch {
		case section.Type == elf.SHT_NOBITS:
		case section.Name == ".text":
			w.allCode += int64(sym.Size)
			if owner != noOwner {
				w.code[owner] += int64(sym.Size)
			}
		case sym.Name == "go:func.*": // arguments' and locals' maps
			w.tables += int64(sym.Size)
		case section.Name == ".gopclntab", owner == noOwner, strings.HasPrefix(sym.Name, "runtime.") && section.Name == ".rodata":
		default:
			w.data[owner] += int64(sym.Size)
		}
	}
	if w.allCode == 0 {
		return w, errors.New("the binary has no symbols")
	}
	return w, nil
}

// ownerOf finds whose symbol it is: the longest package path that its name
// begins with, after marks that the compiler put before it.
func ownerOf(name string, paths []string, own map[string]string) string {
	for _, mark := range []string{"type:.eq.", "type:.hash.", "go:itab.", "type:", "*", "[]", "go:"} {
		name = strings.TrimPrefix(name, mark)
	}
	name = strings.ReplaceAll(name, "%2e", ".")
	for _, p := range paths {
		if rest, ok := strings.CutPrefix(name, p); ok && (rest == "" || rest[0] == '.' || rest[0] == '[') {
			return own[p]
		}
	}
	if strings.HasPrefix(name, "main.") {
		return agentModule
	}
	return noOwner
}
