package main

import (
	"archive/zip"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// unpack returns the files of a bundle by name.
func unpack(t *testing.T, path string) map[string]string {
	t.Helper()
	r, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	files := map[string]string{}
	for _, f := range r.File {
		text, err := fs.ReadFile(r, f.Name)
		if err != nil {
			t.Fatal(err)
		}
		files[strings.TrimPrefix(f.Name, "ssg-agent-bundle/")] = string(text)
	}
	return files
}

// TestSupportBundle plants canaries in configuration, environment and logs, and
// finds none of them in the bundle.
func TestSupportBundle(t *testing.T) {
	p := newPatient(t)
	canaries := []string{
		p.sim.hello.ClientSecret, "52998224725", "529.982.247-25", "maria.canario@example.com", "Maria Canario da Silva", "Rua do Canario 77",
		"+5511987654321", "00020126360014br.gov.bcb.pix0114+55119876543215204000053039865802BR5901X6001Y62070503***6304ABCD",
		"Bearer canary-token-canary-token", "MC4CAQAwBQYDK2VwBCIEICanary", "11222333000181",
	}
	p.replace = []string{
		`name = "Loja Simulada Ltda"`, `name = "Maria Canario da Silva"`, `document = "11222333000181"`, `document = "52998224725"`,
		"pagador@example.com", "maria.canario@example.com", "Rua das Flores, 100", "Rua do Canario 77", `pix_key = "11222333000181"`, `pix_key = "+5511987654321"`,
	}
	config := p.config()
	var log strings.Builder
	for _, c := range canaries {
		log.WriteString("level=INFO msg=canary value=\"" + c + "\"\n")
	}
	log.WriteString("-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEICanary\n-----END PRIVATE KEY-----\nthe end\n")
	if err := os.WriteFile(filepath.Join(p.data(), "agent.log"), []byte(log.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "bundle.zip")
	if code, _, errs := runMain(t, "support-bundle", "--data", p.data(), "--config", config, "--out", out); code != 0 {
		t.Fatalf("exit %d: %s", code, errs)
	}
	files := unpack(t, out)
	for _, name := range []string{"version.json", "config.json", "doctor.jsonl", "store.json", "data/agent.log", "system/proc/mounts", "system/disk.txt"} {
		if files[name] == "" {
			t.Errorf("no %s in the bundle", name)
		}
	}
	if !strings.Contains(files["config.json"], `"pix_key": "[personal]"`) || !strings.Contains(files["config.json"], `"code": "SIM1"`) {
		t.Errorf("the configuration reads\n%s", files["config.json"])
	}
	if !strings.Contains(files["data/agent.log"], "the end") {
		t.Errorf("the log reads\n%s", files["data/agent.log"])
	}
	for name, text := range files {
		for _, c := range canaries {
			// The key's bytes are masked as a block only; alone they look like nothing.
			if strings.Contains(text, c) && c != "MC4CAQAwBQYDK2VwBCIEICanary" {
				t.Errorf("%s holds %q", name, c)
			}
		}
	}
	if strings.Count(files["data/agent.log"], "MC4CAQAwBQYDK2VwBCIEICanary") != 1 {
		t.Error("the private key is in the bundle")
	}
	if info, err := os.Stat(out); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the bundle is %v, %v", info.Mode(), err)
	}
}

// TestSupportBundleOfABrokenTerminal: nothing works, and the bundle says so.
func TestSupportBundleOfABrokenTerminal(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "agent.toml")
	for path, text := range map[string]string{config: "version = ", storePath(dir): "damaged"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out := filepath.Join(dir, "bundle.zip")
	if code, _, errs := runMain(t, "support-bundle", "-d", dir, "-c", config, "-o", out); code != 0 {
		t.Fatalf("exit %d: %s", code, errs)
	}
	if lost := unpack(t, out)["errors.txt"]; !strings.Contains(lost, "config.json") || !strings.Contains(lost, "store") {
		t.Errorf("errors.txt: %s", lost)
	}
	if code, _, errs := runMain(t, "support-bundle", "-d", dir, "-o", out); code != 1 || !strings.Contains(errs, "exists") {
		t.Errorf("over a file: exit %d, %s", code, errs)
	}
	for _, args := range [][]string{{"support-bundle"}, {"support-bundle", "-o", out}, {"support-bundle", "-d", dir}} {
		if code, _, _ := runMain(t, args...); code != 2 {
			t.Errorf("%v: exit %d", args, code)
		}
	}
}
