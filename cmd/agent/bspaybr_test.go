package main

import (
	"strings"
	"testing"
)

// What people get wrong about a Bspaybr account, and where they are told.
func TestBspaybrConfiguration(t *testing.T) {
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
provider = "bspaybr"
[[provider]]
name = "bspaybr"
type = "bspaybr"
url = "https://bspaybr.com"
client_id = "kiosk-1"
client_secret = { env = "SECRET" }
allowed_hosts = ["pix.example.com"]
[provider.bspaybr]
callback_url = "https://hub.example.com/wh/bspaybr"
[provider.payer]
name = "Maria"
document = "52998224725"
`
	const canPay = "provider[0].client_secret: whoever takes it from this terminal can send the account's money away"
	for _, tt := range []struct{ name, old, new, want string }{
		{"nothing", "", "", ""},
		{"no address", `url = "https://bspaybr.com"`, ``, "provider[0].url: is missing"},
		{"plain HTTP", `"https://bspaybr.com"`, `"http://bspaybr.com"`, "provider[0].url: plain HTTP"},
		{"no client id", `client_id = "kiosk-1"`, ``, "provider[0].client_id: is missing"},
		{"no callback", `callback_url = "https://hub.example.com/wh/bspaybr"`, ``, "provider[0].bspaybr.callback_url: is missing"},
		{"a callback without TLS", `"https://hub`, `"http://hub`, "provider[0].bspaybr.callback_url: not a public https address"},
		{"no table", "[provider.bspaybr]\ncallback_url = \"https://hub.example.com/wh/bspaybr\"", ``, "provider[0].bspaybr.callback_url: not a public https address"},
		{"another method", `[provider.bspaybr]`, "[provider.bspaybr]\nstatus_method = \"put\"", "provider[0].bspaybr.status_method: "},
		{"half a path", `[provider.bspaybr]`, "[provider.bspaybr]\nstatus_path = \"status\"", "provider[0].bspaybr.status_path: not a path"},
		{"a company that pays", `"52998224725"`, `"11222333000181"`, "provider[0].payer.document: a CNPJ"},
		{"any host", `allowed_hosts = ["pix.example.com"]`, ``, "provider[0].allowed_hosts: is empty"},
		{"another family's table", `type = "bspaybr"`, `type = "bacen"`, `provider[0].bspaybr: is for a provider of type = "bspaybr"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := strings.Replace(good, tt.old, tt.new, 1)
			_, f := decodeConfig("agent.toml", []byte(text), map[string]string{"SECRET": testSecret})
			var found []string
			for _, p := range f.Problems() {
				found = append(found, p.Path+": "+p.Message)
			}
			all := strings.Join(found, "\n")
			if tt.want == "" && all != canPay || !strings.Contains(all, tt.want) || strings.Contains(all, testSecret) {
				t.Errorf("got\n%s\nwant %q", all, tt.want)
			}
			for _, once := range []string{"client_id", "callback_url", "status_method"} {
				if strings.Count(all, once) > 1 {
					t.Errorf("one problem, told twice:\n%s", all)
				}
			}
		})
	}
}
