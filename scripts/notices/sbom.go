package main

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// bom is the part of CycloneDX 1.6 that is used.
type bom struct {
	Format      string      `json:"bomFormat"`
	SpecVersion string      `json:"specVersion"`
	Version     int         `json:"version"`
	Metadata    metadata    `json:"metadata"`
	Components  []component `json:"components"`
}

type metadata struct {
	Component component `json:"component"`
}

type component struct {
	Type       string     `json:"type"`
	Ref        string     `json:"bom-ref"`
	Name       string     `json:"name"`
	Version    string     `json:"version"`
	PURL       string     `json:"purl,omitempty"`
	Hashes     []hash     `json:"hashes,omitempty"`
	Licenses   []license  `json:"licenses"`
	Properties []property `json:"properties,omitempty"`
}

type hash struct {
	Alg     string `json:"alg"`
	Content string `json:"content"`
}

type license struct {
	Expression string `json:"expression"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// sbom renders the bill of materials of a built binary. Every module in it must
// be among the libraries whose licences are known.
func sbom(binary, version string, libraries []library) ([]byte, error) {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	content, err := os.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(content)
	var build []property
	for _, s := range info.Settings {
		if strings.HasPrefix(s.Key, "GO") || s.Key == "CGO_ENABLED" {
			build = append(build, property{"go:" + s.Key, s.Value})
		}
	}
	b := bom{
		Format: "CycloneDX", SpecVersion: "1.6", Version: 1,
		Metadata: metadata{component{
			Type: "application", Ref: filepath.Base(binary), Name: "ssg-" + path.Base(info.Path), Version: version,
			PURL:     "pkg:golang/" + info.Main.Path + "@" + version,
			Hashes:   []hash{{"SHA-256", hex.EncodeToString(sum[:])}},
			Licenses: []license{{"Apache-2.0"}}, Properties: build,
		}},
	}
	known := map[string]library{}
	for _, l := range libraries {
		known[l.module] = l
	}
	add := func(module, version, goSum string) error {
		l, ok := known[module]
		if !ok || module != std && l.version != version {
			return fmt.Errorf("%s is linked into %s and not known to the source tree", module+" "+version, binary)
		}
		c := component{Type: "library", Name: module, Version: version, Licenses: []license{{l.license}}}
		c.PURL = "pkg:golang/" + module + "@" + strings.TrimPrefix(version, "go")
		c.Ref = c.PURL
		if goSum != "" {
			c.Properties = []property{{"go:sum", goSum}}
		}
		b.Components = append(b.Components, c)
		return nil
	}
	if err := add(std, info.GoVersion, ""); err != nil {
		return nil, err
	}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		if err := add(m.Path, m.Version, m.Sum); err != nil {
			return nil, err
		}
	}
	out, err := json.MarshalIndent(b, "", "  ")
	return append(out, '\n'), err
}
