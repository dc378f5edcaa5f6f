// Command notices makes the two lists of what is linked into the program.
//
//	go run ./scripts/notices > THIRD_PARTY_LICENSES.md
//	go run ./scripts/notices -sbom BINARY -version VERSION > BINARY.cdx.json
//
// The first asks the go command which modules ./cmd/agent needs on Linux, and
// copies their licence and notice files. The second reads the module list out of
// a built binary and writes a CycloneDX 1.6 bill of materials, without a time
// stamp or a random number, so that it can be reproduced.
//
// A licence text that is not recognised is an error: a person must read it and
// teach it to this program.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

func main() {
	binary := flag.String("sbom", "", "write the bill of materials of this binary instead")
	version := flag.String("version", "unknown", "the version that was stamped into the binary")
	flag.Parse()
	out, err := run(*binary, *version)
	if err != nil {
		fmt.Fprintf(os.Stderr, "notices: %v\n", err)
		os.Exit(1)
	}
	os.Stdout.Write(out)
}

func run(binary, version string) ([]byte, error) {
	libraries, err := linked(".")
	if err != nil {
		return nil, err
	}
	if binary != "" {
		return sbom(binary, version, libraries)
	}
	return markdown(libraries), nil
}

// library is one linked module with its licence files.
type library struct {
	module, version, license string
	texts                    []text
}

// std is the Go standard library; its version is the toolchain's, which differs
// from machine to machine.
const std = "std"

// text is one licence or notice file.
type text struct{ name, body string }

// linked lists the libraries of ./cmd/agent on Linux, the Go standard library
// first. The module tree is looked for in dir.
func linked(dir string) ([]library, error) {
	cmd := exec.Command("go", "list", "-deps", "-json=Dir,Module", "./cmd/agent")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm", "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	type module struct {
		Path, Version, Dir string
		Main               bool
	}
	modules := map[string]module{}
	packages := map[string][]string{} // directories of linked packages, by module
	for d := json.NewDecoder(bytes.NewReader(out)); d.More(); {
		var p struct {
			Dir    string
			Module *module
		}
		if err := d.Decode(&p); err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		if p.Module != nil && !p.Module.Main {
			modules[p.Module.Path] = *p.Module
			packages[p.Module.Path] = append(packages[p.Module.Path], p.Dir)
		}
	}
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("go env: %w", err)
	}
	first, err := read(library{module: std, version: "as built"}, []string{strings.TrimSpace(string(goroot))})
	if err != nil {
		return nil, err
	}
	libraries := []library{first}
	for path, m := range modules {
		// A package may have a licence of its own, below the module's.
		dirs := []string{m.Dir}
		for _, p := range packages[path] {
			for ; len(p) > len(m.Dir); p = filepath.Dir(p) {
				dirs = append(dirs, p)
			}
		}
		slices.Sort(dirs)
		l, err := read(library{module: path, version: m.Version}, slices.Compact(dirs))
		if err != nil {
			return nil, err
		}
		libraries = append(libraries, l)
	}
	slices.SortFunc(libraries[1:], func(a, b library) int { return strings.Compare(a.module, b.module) })
	return libraries, nil
}

var licenseFile = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|patents)([-_.].*)?$`)

// read adds the licence files in the directories, the first of which is the
// module's root, and the expression they amount to.
func read(l library, dirs []string) (library, error) {
	var ids []string
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return l, fmt.Errorf("%s: %w", l.module, err)
		}
		for _, e := range entries {
			if !e.Type().IsRegular() || !licenseFile.MatchString(e.Name()) || strings.HasSuffix(e.Name(), ".go") {
				continue
			}
			body, err := os.ReadFile(filepath.Join(dir, e.Name()))
			if err != nil {
				return l, fmt.Errorf("%s: %w", l.module, err)
			}
			name, err := filepath.Rel(dirs[0], filepath.Join(dir, e.Name()))
			if err != nil {
				return l, err
			}
			l.texts = append(l.texts, text{name, strings.TrimSpace(strings.ReplaceAll(string(body), "\r\n", "\n"))})
			if lower := strings.ToLower(e.Name()); strings.HasPrefix(lower, "notice") || strings.HasPrefix(lower, "patents") {
				continue
			}
			id := classify(string(body))
			if id == "" {
				return l, fmt.Errorf("%s %s: the licence in %s is not recognised; read it, and add it to classify", l.module, l.version, name)
			}
			if !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
	}
	if ids == nil {
		return l, fmt.Errorf("%s %s has no licence file", l.module, l.version)
	}
	l.license = strings.Join(ids, " AND ")
	return l, nil
}

// classify returns the SPDX identifier of a licence text, or "".
func classify(text string) string {
	text = strings.ToLower(strings.Join(strings.Fields(text), " "))
	has := func(part string) bool { return strings.Contains(text, part) }
	switch {
	case has("eclipse public license v2.0 and eclipse distribution license v1.0"):
		return "EPL-2.0 OR BSD-3-Clause" // the Eclipse Distribution License is the latter
	case has("apache license version 2.0, january 2004"):
		return "Apache-2.0"
	case has("redistribution and use in source and binary forms") && has("neither the name"):
		return "BSD-3-Clause"
	case has("redistribution and use in source and binary forms"):
		return "BSD-2-Clause"
	case has("permission is hereby granted, free of charge, to any person obtaining a copy"):
		return "MIT"
	case has("permission to use, copy, modify, and/or distribute this software for any purpose"):
		return "ISC"
	}
	return ""
}

// markdown renders the list for people; texts that are the same stand once.
func markdown(libraries []library) []byte {
	var b bytes.Buffer
	b.WriteString(`# Third-party licences

ssg-agent is under the Apache License 2.0 (file LICENSE). These libraries are
linked into it, with the licences that follow. Made by ` + "`make licenses`" + `.

| module | version | licence |
|---|---|---|
`)
	var bodies []string
	users := map[string][]string{}
	for _, l := range libraries {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", l.module, l.version, l.license)
		for _, t := range l.texts {
			if users[t.body] == nil {
				bodies = append(bodies, t.body)
			}
			users[t.body] = append(users[t.body], l.module+" "+t.name)
		}
	}
	for _, body := range bodies {
		fmt.Fprintf(&b, "\n## %s\n\n```\n%s\n```\n", strings.Join(users[body], ", "), body)
	}
	return b.Bytes()
}
