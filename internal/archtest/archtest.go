// Package archtest holds the tree to its architecture: which package may import
// which, that every exported name is documented, and that no floating point
// comes near money.
//
// It parses the source files in the test's own process, so that the test cache
// sees every file it read; a test that asks the go command is served stale
// results. What the rules are, and why, stands in rules.go; each rule has a
// planted violation in the tests, so that a rule that catches nothing fails.
package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
)

// module is the path that imports of our own packages begin with.
const module = "github.com/ssg-safe/agent/"

// file is one parsed Go file.
type file struct {
	name    string // slash path below the module's root
	pkg     string // its directory, such as "pix/qr"; "." is the root
	test    bool
	ast     *ast.File
	imports []string
}

// load parses the module below root. Nested modules, testdata and hidden
// directories are not part of it.
func load(root fs.FS) (*token.FileSet, []file, error) {
	fset := token.NewFileSet()
	var files []file
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name == "." {
				return nil
			}
			if _, err := fs.Stat(root, path.Join(name, "go.mod")); err == nil ||
				d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") || strings.HasPrefix(d.Name(), "_") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		src, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		tree, err := parser.ParseFile(fset, name, src, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		f := file{name: name, pkg: path.Dir(name), test: strings.HasSuffix(name, "_test.go"), ast: tree}
		for _, spec := range tree.Imports {
			p, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return fmt.Errorf("%s: import %s: %w", name, spec.Path.Value, err)
			}
			f.imports = append(f.imports, p)
		}
		files = append(files, f)
		return nil
	})
	return fset, files, err
}

// matches reports whether a path is named by one of the patterns: "a/b" names
// itself, "a/b/..." itself and what is below, "..." everything.
func matches(p string, patterns []string) bool {
	for _, pattern := range patterns {
		base, tree := strings.CutSuffix(pattern, "/...")
		if pattern == "..." || p == base || tree && strings.HasPrefix(p, base+"/") {
			return true
		}
	}
	return false
}

// violation is one import that a rule forbids.
type violation struct{ rule, file, imports, why string }

func (v violation) String() string {
	return fmt.Sprintf("%s imports %s\n\trule %q: %s", v.file, v.imports, v.rule, v.why)
}

// check holds the files' imports to the rules.
func check(files []file) []violation {
	var found []violation
	bound := slices.Concat(rules, providerRules(files))
	for _, f := range files {
		for _, r := range bound {
			if f.test && !r.tests || !matches(f.pkg, r.of) || matches(f.pkg, r.except) {
				continue
			}
			for _, imported := range f.imports {
				own, isOwn := strings.CutPrefix(imported, module)
				banned := matches(imported, r.never)
				if isOwn {
					banned = banned || r.only != nil && !matches(own, r.only) && !matches(own, []string{f.pkg + "/..."}) ||
						matches(own, r.neverOwn)
				}
				if banned {
					found = append(found, violation{r.name, f.name, imported, r.why})
				}
			}
		}
	}
	return found
}

// unsafeBubbles lists the packages that use testing/synctest without what makes it
// safe under the race detector.
func unsafeBubbles(files []file) []string {
	unsafe := map[string]bool{}
	for _, f := range files {
		if slices.Contains(f.imports, "testing/synctest") {
			unsafe[f.pkg] = true
		}
	}
	delete(unsafe, "internal/bubbles")
	for _, f := range files {
		if slices.Contains(f.imports, module+"internal/bubbles") {
			delete(unsafe, f.pkg)
		}
	}
	return slices.Sorted(maps.Keys(unsafe))
}

// undocumented lists the exported names without a doc comment in packages that
// others can import, and packages without a package comment.
func undocumented(fset *token.FileSet, files []file) []string {
	var missing []string
	commented, seen := map[string]bool{}, map[string]bool{}
	for _, f := range files {
		if f.test {
			continue
		}
		if f.ast.Doc != nil {
			commented[f.pkg] = true
		}
		seen[f.pkg] = true
		if f.ast.Name.Name == "main" || matches(f.pkg, []string{"internal/..."}) || strings.Contains(f.pkg, "/internal/") {
			continue
		}
		name := func(pos token.Pos, what string) {
			missing = append(missing, fmt.Sprintf("%s: %s has no doc comment", fset.Position(pos), what))
		}
		for _, decl := range f.ast.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if receiver, exported := receiverOf(d); d.Name.IsExported() && exported && d.Doc == nil {
					name(d.Pos(), receiver+d.Name.Name)
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					switch s := spec.(type) {
					case *ast.TypeSpec:
						if s.Name.IsExported() && d.Doc == nil && s.Doc == nil {
							name(s.Pos(), s.Name.Name)
						}
					case *ast.ValueSpec:
						for _, n := range s.Names {
							if n.IsExported() && d.Doc == nil && s.Doc == nil && s.Comment == nil {
								name(n.Pos(), n.Name)
							}
						}
					}
				}
			}
		}
	}
	for _, pkg := range slices.Sorted(maps.Keys(seen)) {
		if !commented[pkg] {
			missing = append(missing, pkg+": the package has no package comment")
		}
	}
	return missing
}

// receiverOf names a method's receiver type, with a dot, and reports whether it
// is exported; a function counts as exported.
func receiverOf(d *ast.FuncDecl) (string, bool) {
	if d.Recv == nil {
		return "", true
	}
	t := d.Recv.List[0].Type
	for {
		switch x := t.(type) {
		case *ast.StarExpr:
			t = x.X
		case *ast.IndexExpr:
			t = x.X
		case *ast.IndexListExpr:
			t = x.X
		case *ast.Ident:
			return x.Name + ".", x.IsExported()
		default:
			return "", false
		}
	}
}

// locations lists where time zones are looked up without package zone.
func locations(fset *token.FileSet, files []file) []string {
	var found []string
	for _, f := range files {
		if f.test || f.pkg == "zone" {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if id, ok := n.(*ast.Ident); ok && id.Name == "LoadLocation" {
				found = append(found, fset.Position(id.Pos()).String())
			}
			return true
		})
	}
	return found
}

// floats lists the uses of floating point types in the packages that handle
// money. Constants such as a page's fill level have no type of their own, and
// do not compile with an amount.
func floats(fset *token.FileSet, files []file) []string {
	var found []string
	for _, f := range files {
		if f.test || !matches(f.pkg, moneyPackages) {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if id, ok := n.(*ast.Ident); ok && (id.Name == "float32" || id.Name == "float64" || id.Name == "ParseFloat") {
				found = append(found, fmt.Sprintf("%s: %s", fset.Position(id.Pos()), id.Name))
			}
			return true
		})
	}
	return found
}
