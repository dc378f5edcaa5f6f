// Package agent holds the licence texts that travel inside the program: its own,
// and those of everything linked into it.
//
// THIRD_PARTY_LICENSES.md is made by `go run ./scripts/notices`, and a test
// there holds it to what is really linked.
package agent

import (
	_ "embed"
	"runtime"
	"strings"
)

// License is the program's own licence, the Apache License 2.0.
//
//go:embed LICENSE
var License string

// ThirdParty is the list of linked libraries with their licence texts, in
// Markdown.
//
//go:embed THIRD_PARTY_LICENSES.md
var ThirdParty string

// Library is a Go module, or the Go standard library, linked into the program.
type Library struct {
	Module  string `json:"module"`
	Version string `json:"version"`
	// License is an SPDX expression.
	License string `json:"license"`
}

// Libraries returns the table at the head of [ThirdParty]. The standard library,
// module "std", has the version of the running program.
func Libraries() []Library {
	var libraries []Library
	for line := range strings.Lines(ThirdParty) {
		cells := strings.Split(strings.TrimSpace(line), " | ")
		if len(cells) != 3 || !strings.HasPrefix(cells[0], "| ") || cells[0] == "| module" {
			continue
		}
		l := Library{Module: strings.TrimPrefix(cells[0], "| "), Version: cells[1], License: strings.TrimSuffix(cells[2], " |")}
		if l.Module == "std" {
			l.Version = runtime.Version()
		}
		libraries = append(libraries, l)
	}
	return libraries
}
