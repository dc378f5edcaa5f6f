package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ssg-safe/agent/providers"
)

// clientPair is a client certificate that holds for some time, and its key, PEM.
func clientPair(t testing.TB, life time.Duration) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "kiosk"}, NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(life),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})) +
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
}

// What people get wrong about a bank, and where they are told.
func TestBacenConfiguration(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	pair := write("pair.pem", clientPair(t, 365*24*time.Hour))
	profile := write("bank.toml", "version = 1\nname = \"bank\"\nstatic_txid = false\nmutual_tls = false\n")
	bad := write("bad.toml", "version = 1\nname = \"bank\"\nscopes = [\"pix.write\"]\n")
	for _, tt := range []struct {
		name, provider, own string
		says                string // empty: no problem
	}{
		{"in order", "", `certificate_key = { file = "` + pair + `" }`, ""},
		{"no certificate", "", "", "provider[0].bacen.certificate_key: missing"},
		{"a certificate that ends", "", `certificate_key = { file = "` + write("soon.pem", clientPair(t, 24*time.Hour)) + `" }`, "provider[0].bacen.certificate: ends on "},
		{"a certificate that is over", "", `certificate_key = { file = "` + write("over.pem", clientPair(t, -24*time.Hour)) + `" }`, "provider[0].bacen.certificate: has been over"},
		{"a key that is none", "", `certificate_key = { file = "` + bad + `" }`, "provider[0].bacen.certificate_key: holds no private key"},
		{"an unknown profile", "", `profile = "itau"`, "provider[0].bacen.profile: no profile"},
		{"a profile with mistakes", "", `profile = "` + bad + `"`, "can give money back"},
		{"a profile of one's own", "", `profile = "` + profile + `"`, ""},
		{"a relative path", "", `certificate = "kiosk.pem"`, "provider[0].bacen.certificate: is not an absolute path"},
		{"another family's table", `type = "ssg"`, `profile = "generic"`, `provider[0].bacen: is for a provider of type = "bacen"`},
		{"plain HTTP", `url = "http://bank.example"`, `certificate_key = { file = "` + pair + `" }`, "provider[0].url: plain HTTP"},
		{"any host", `allowed_hosts = []`, `certificate_key = { file = "` + pair + `" }`, "provider[0].allowed_hosts: is empty"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			keys := map[string]string{"type": `"bacen"`, "url": `"https://bank.example/api"`, "allowed_hosts": `["bank.example"]`}
			if name, value, ok := strings.Cut(tt.provider, " = "); ok {
				keys[name] = value
			}
			text := fmt.Sprintf(`version = 1
data = "/tmp/x"
[terminal]
code = "T001"
[[merchant]]
id = "loja"
cnpj = "11222333000181"
name = "Loja"
city = "Recife"
pix_key = "11222333000181"
provider = "banco"
account = "7d444840-9dc0-11d1-b245-5ffdce74fad2"
[[provider]]
name = "banco"
type = %s
url = %s
allowed_hosts = %s
client_id = "c"
client_secret = { env = "SSG_CLIENT_SECRET" }
[provider.bacen]
%s
`, keys["type"], keys["url"], keys["allowed_hosts"], tt.own)
			c, f := decodeConfig("agent.toml", []byte(text), map[string]string{"SSG_CLIENT_SECRET": testSecret})
			var all []string
			for _, p := range f.Problems() {
				all = append(all, p.Path+": "+p.Message)
				if p.Line == 0 || p.Remedy == "" {
					t.Errorf("without place or remedy: %s", p)
				}
			}
			if got := strings.Join(all, "\n"); !strings.Contains(got, tt.says) || tt.says == "" && got != "" {
				t.Errorf("got %q, want %q", got, tt.says)
			}
			if tt.says != "" {
				return
			}
			routes, err := openRoutes(c, nil, time.Now, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			if _, finds := routes["banco"].(providers.StaticFinder); finds == strings.Contains(tt.own, profile) {
				t.Errorf("finds payments of static codes: %v", finds)
			}
		})
	}
}
