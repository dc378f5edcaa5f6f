package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	agent "github.com/ssg-safe/agent"
	"github.com/ssg-safe/agent/internal/agenttest"
)

var update = flag.Bool("update", false, "write THIRD_PARTY_LICENSES.md anew")

// The published list is what is linked, word for word.
func TestThirdPartyLicensesAreTrue(t *testing.T) {
	root := agenttest.Root(t)
	libraries, err := linked(root)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(root, "THIRD_PARTY_LICENSES.md")
	want := string(markdown(libraries))
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("THIRD_PARTY_LICENSES.md is not what is linked; run `make licenses` and read the difference (-linked +file):\n%s", diff)
	}
	if *update {
		return // what is embedded is from before
	}
	var names, embedded []string
	for _, l := range libraries {
		names = append(names, l.module+" "+l.license)
	}
	for _, l := range agent.Libraries() {
		embedded = append(embedded, l.Module+" "+l.License)
	}
	if diff := cmp.Diff(names, embedded); diff != "" {
		t.Errorf("the program's own table (-linked +shown):\n%s", diff)
	}
}

func TestClassify(t *testing.T) {
	for text, want := range map[string]string{
		"  Apache License\n   Version 2.0, January 2004":                                            "Apache-2.0",
		"Redistribution and use in source and\nbinary forms, with or without … Neither the name of": "BSD-3-Clause",
		"Redistribution and use in source and binary forms, with or without":                        "BSD-2-Clause",
		"Permission is hereby granted, free of charge, to any person obtaining a copy":              "MIT",
		"Permission to use, copy, modify, and/or distribute this software for any purpose with or":  "ISC",
		"You may use this on Tuesdays":                                                              "",
		"GNU GENERAL PUBLIC LICENSE Version 3, 29 June 2007":                                        "",
		"Permission is hereby granted, to any person of taste":                                      "",
	} {
		if got := classify(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestReadLicenses(t *testing.T) {
	dir := t.TempDir()
	write := func(name, body string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := read(library{module: "m", version: "v1"}, []string{dir}); err == nil || !strings.Contains(err.Error(), "no licence file") {
		t.Errorf("a module without a licence: %v", err)
	}
	const mit = "Permission is hereby granted, free of charge, to any person obtaining a copy"
	write("LICENSE.txt", mit)
	write("license.go", "package m")
	write("NOTICE", "Made by somebody.")
	write("font/LICENCE", "Redistribution and use in source and binary forms")
	l, err := read(library{module: "m", version: "v1"}, []string{dir, filepath.Join(dir, "font")})
	if err != nil {
		t.Fatal(err)
	}
	want := []text{{"LICENSE.txt", mit}, {"NOTICE", "Made by somebody."}, {"font/LICENCE", "Redistribution and use in source and binary forms"}}
	if diff := cmp.Diff(want, l.texts, cmp.AllowUnexported(text{})); diff != "" || l.license != "MIT AND BSD-2-Clause" {
		t.Errorf("%s %s", l.license, diff)
	}
	write("COPYING", "All rights reserved.")
	if _, err := read(library{module: "m", version: "v1"}, []string{dir}); err == nil || !strings.Contains(err.Error(), "COPYING is not recognised") {
		t.Errorf("an unknown licence: %v", err)
	}
}

// Any Go binary will do for the form of the bill: this uses a small one without modules.
func TestSBOM(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "tool")
	build := exec.Command("go", "build", "-trimpath", "-o", bin, "./scripts/notices")
	build.Dir = agenttest.Root(t)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	libraries := []library{{module: std, license: "BSD-3-Clause"}}
	out, err := sbom(bin, "v9", libraries)
	if err != nil {
		t.Fatal(err)
	}
	var got bom
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(bin)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(content)
	app := got.Metadata.Component
	if app.Version != "v9" || len(app.Hashes) != 1 || app.Hashes[0].Content != hex.EncodeToString(sum[:]) {
		t.Errorf("application %+v", app)
	}
	if len(got.Components) != 1 || got.Components[0].Name != std || got.Components[0].Licenses[0].Expression != "BSD-3-Clause" {
		t.Errorf("components %+v", got.Components)
	}
	again, err := sbom(bin, "v9", libraries)
	if err != nil || string(again) != string(out) {
		t.Errorf("the bill of the same binary differs: %v", err)
	}
	if _, err := sbom(bin, "v9", nil); err == nil {
		t.Error("a module of unknown licence got into the bill")
	}
}
