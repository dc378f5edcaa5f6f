package main

import (
	"strings"
	"testing"
)

// What people get wrong about a BSPAY account, and where they are told.
func TestBspayConfiguration(t *testing.T) {
	const good = `
version = 1
data = "/var/lib/ssg-agent"
[terminal]
code = "P001"
[[merchant]]
id = "loja"
cnpj = "11222333000181"
name = "Loja"
city = "Curitiba"
pix_key = "11222333000181"
provider = "bspay"
[[provider]]
name = "bspay"
type = "bspay"
url = "https://api.bspay.co"
client_id = "kiosk-1"
client_secret = { env = "SECRET" }
allowed_hosts = ["pix.example.com"]
[provider.bspay]
postback_url = "https://hub.example.com/bspay"
`
	for _, tt := range []struct{ name, old, new, want string }{
		{"nothing", "", "", ""},
		{"no address", `url = "https://api.bspay.co"`, ``, "provider[0].url: is missing"},
		{"plain HTTP", `"https://api.bspay.co"`, `"http://api.bspay.co"`, "provider[0].url: plain HTTP"},
		{"an address on the inside", `"https://hub.example.com/bspay"`, `"http://10.0.0.1/"`, "provider[0].bspay.postback_url: not a public https address"},
		{"a colon", `"kiosk-1"`, `"kiosk:1"`, "provider[0].client_id: holds a colon"},
		{"no client id", `client_id = "kiosk-1"`, ``, "provider[0].client_id: is missing"},
		{"any host", `allowed_hosts = ["pix.example.com"]`, ``, "provider[0].allowed_hosts: is empty"},
		{"codes of any kind", `url =`, "brcode_check = \"warn\"\nurl =", "provider[0].brcode_check: payers are shown codes"},
		{"a key that pays out", `[provider.bspay]`, "[provider.bspay]\nsigning_key = { env = \"SECRET\" }", "provider[0].bspay.signing_key: whoever takes it"},
		{"another family's table", `type = "bspay"`, `type = "bacen"`, `provider[0].bspay: is for a provider of type = "bspay"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := strings.Replace(good, tt.old, tt.new, 1)
			_, f := decodeConfig("agent.toml", []byte(text), map[string]string{"SECRET": testSecret})
			var found []string
			for _, p := range f.Problems() {
				found = append(found, p.Path+": "+p.Message)
			}
			all := strings.Join(found, "\n")
			if tt.want == "" && all != "" || !strings.Contains(all, tt.want) || strings.Contains(all, testSecret) {
				t.Errorf("got\n%s\nwant %q", all, tt.want)
			}
			if strings.Count(all, "client_id") > 1 {
				t.Errorf("one problem, told twice:\n%s", all)
			}
		})
	}
}
