package main

import (
	"net"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ssg-safe/agent/internal/agenttest"
	"github.com/ssg-safe/agent/internal/config"
)

// decode reads text on a machine that has the examples' secrets.
func decode(t *testing.T, text string) (Config, *config.File) {
	t.Helper()
	secrets := t.TempDir()
	for name, secret := range map[string]string{
		"mqtt.password": "the-password", "bspay.path": "BSPAYBSPAYBSPAYBSPAYBSPAY2", "bspay.callback": "whsec-callback", "bspay.webhook": "whsec-webhook",
		"bspaybr.path": "BSPAYBRBSPAYBRBSPAYBRBSPAY", "bspaybr.webhook": "whsec-br", "banco.path": "BANCOBANCOBANCOBANCOBANCO2",
		"short.path":   "short",
		"conta.secret": "the-password", "conta.signing": "the-password", "outra.secret": "the-password", "outra.callback": "the-password", "banco.secret": "the-password", "banco.app": "the-app",
		"banco.pem":     clientPair(t),
		"basspago.path": "BASSPAGOBASSPAGOBASSPAGO22",
	} {
		if err := os.WriteFile(filepath.Join(secrets, name), []byte(secret+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var c Config
	f := config.Decode("hub.toml", []byte(strings.ReplaceAll(text, "/etc/ssg-hub/secrets", secrets)), &c, config.Options{})
	f.Report(c.validate()...)
	return c, f
}

// clientPair is a client certificate and its key, PEM.
func clientPair(t *testing.T) string {
	t.Helper()
	certificate, key := agenttest.NewAuthority(t).Issue("hub")
	var all string
	for _, path := range []string{certificate, key} {
		pem, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all += string(pem)
	}
	return all
}

func readExample(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "configs", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestExamples(t *testing.T) {
	files, err := filepath.Glob("../../configs/hub*.toml")
	if err != nil || len(files) < 3 {
		t.Fatalf("examples %q, %v", files, err)
	}
	for _, path := range files {
		if _, f := decode(t, readExample(t, filepath.Base(path))); len(f.Problems()) > 0 {
			t.Errorf("%s: %v", path, f.Problems())
		}
	}
	c, _ := decode(t, readExample(t, "hub.toml"))
	if c.Data != "/var/lib/ssg-hub" || c.Broker.Password.Value.Reveal() != "the-password" || c.Broker.Addresses[0] != "ssl://mqtt.example.com:8883" {
		t.Errorf("hub.toml says %+v", c)
	}
}

// The full example shows every key, and behind a "#" with its default.
func TestFullExample(t *testing.T) {
	text := readExample(t, "hub.toml")
	uncomment := regexp.MustCompile(`(?m)^#([a-z_]+ = )`)
	all := uncomment.ReplaceAllString(text, "$1")
	without, _ := decode(t, text)
	with, f := decode(t, all)
	if err := f.Err(); err != nil {
		t.Fatal(err)
	}
	without.Broker.Password, with.Broker.Password = config.Secret{}, config.Secret{} // of two folders
	if diff := cmp.Diff(without, with); diff != "" {
		t.Errorf("the defaults it shows are not the program's (-program +file):\n%s", diff)
	}
	payouts := readExample(t, "hub-payouts.toml")
	without, _ = decode(t, payouts)
	with, f = decode(t, uncomment.ReplaceAllString(payouts, "$1"))
	if err := f.Err(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*Config{&without, &with} { // secrets of two folders
		for i := range c.Providers {
			c.Providers[i].ClientSecret = config.Secret{}
			if c.Providers[i].Bspay != nil {
				c.Providers[i].Bspay.SigningKey = config.Secret{}
			}
			if c.Providers[i].Bspaybr != nil {
				c.Providers[i].Bspaybr.CallbackKey = config.Secret{}
			}
			if c.Providers[i].Bacen != nil {
				c.Providers[i].Bacen.CertificateKey, c.Providers[i].Bacen.AppKey = config.Secret{}, config.Secret{}
			}
		}
	}
	if diff := cmp.Diff(without, with); diff != "" {
		t.Errorf("the defaults that hub-payouts.toml shows are not the program's (-program +file):\n%s", diff)
	}
	all += uncomment.ReplaceAllString(payouts, "$1")
	shown := all
	var walk func(typ reflect.Type)
	walk = func(typ reflect.Type) {
		for i := range typ.NumField() {
			key := typ.Field(i).Tag.Get("toml")
			if typ.Field(i).Type == reflect.TypeFor[[]WebhookProvider]() {
				all = readExample(t, "hub-webhooks.toml")
				walk(reflect.TypeFor[WebhookProvider]())
				all = shown
				continue
			}
			if sub := typ.Field(i).Type; sub.Kind() == reflect.Slice && sub.Elem().Kind() == reflect.Struct {
				if !strings.Contains(all, "[["+key+"]]") {
					t.Errorf("it does not show [[%s]]", key)
				}
				walk(sub.Elem())
			} else if sub.Kind() == reflect.Pointer {
				walk(sub.Elem())
			} else if sub.Kind() == reflect.Struct && sub != reflect.TypeFor[config.Secret]() {
				if !strings.Contains(all, "["+key+"]") {
					t.Errorf("it does not show [%s]", key)
				}
				walk(sub)
			} else if !strings.Contains(all, "\n"+key+" = ") {
				t.Errorf("it does not show %s", key)
			}
		}
	}
	walk(reflect.TypeFor[Config]())
}

const (
	behindProxy   = "version = 1\n[webhook]\naddress = \"127.0.0.1:8080\"\nbehind_proxy = true\n"
	bspayWebhooks = "[[webhook.provider]]\nname = \"psp\"\ntype = \"bspay\"\npath = { file = \"/etc/ssg-hub/secrets/bspay.path\" }\ncallback_secret = { file = \"/etc/ssg-hub/secrets/bspay.callback\" }\n"
	bankWebhooks  = "[[webhook.provider]]\nname = \"bank\"\ntype = \"bacen\"\npath = { file = \"/etc/ssg-hub/secrets/banco.path\" }\n"
)

func person(name string, seed byte) string {
	return "[[operator]]\nname = \"" + name + "\"\nkey = \"" + publicOf(seed) + "\"\n"
}

const payoutAccount = "[[provider]]\nname = \"conta\"\nmerchant = \"loja\"\ntype = \"bspay\"\nurl = \"https://api.example.com\"\nclient_id = \"hub\"\nclient_secret = { file = \"/etc/ssg-hub/secrets/conta.secret\" }\n"

var bankAccount = strings.Replace(payoutAccount, `type = "bspay"`, `type = "bacen"`, 1)

func TestBadConfigurations(t *testing.T) {
	for name, test := range map[string]struct{ text, path, says string }{
		"version":             {`version = 2`, "version", "reads version 1"},
		"unknown key":         {"version = 1\nport = 1", "port", "unknown key"},
		"relative data":       {"version = 1\ndata = \"hub\"", "data", "absolute"},
		"long data":           {"version = 1\ndata = \"/" + strings.Repeat("x", 100) + "\"", "data", "too long"},
		"broker":              {"version = 1\n[broker]\naddresses = [\"mqtt.example.com\"]", "broker.addresses", "want tcp://host:port or ssl://host:port"},
		"half a certificate":  {"version = 1\n[broker]\naddresses = [\"ssl://h:1\"]\ncertificate = \"/c\"", "broker.certificate", "go together"},
		"half a key":          {"version = 1\n[listen]\nprivate_key = \"/c\"", "listen.certificate", "go together"},
		"plain on a network":  {"version = 1\n[listen]\naddress = \"0.0.0.0:1883\"", "listen.certificate", "anyone on the network"},
		"clients without TLS": {"version = 1\n[listen]\nclient_ca = \"/c\"", "listen.client_ca", "needs TLS"},
		"webhooks nowhere":    {"version = 1\n" + bspayWebhooks, "webhook.address", "is missing"},
		"nobody's webhooks":   {"version = 1\n[webhook]\naddress = \":8443\"\nbehind_proxy = true", "webhook.provider", "is missing"},
		"plain webhooks":      {"version = 1\n[webhook]\naddress = \":8443\"\n" + bspayWebhooks, "webhook.certificate", "HTTPS only"},
		"no webhook port":     {"version = 1\n[webhook]\naddress = \"0.0.0.0\"\nbehind_proxy = true\n" + bspayWebhooks, "webhook.address", "host and port"},
		"past the proxy":      {strings.Replace(behindProxy, "127.0.0.1", "0.0.0.0", 1) + bspayWebhooks, "webhook.address", "past the proxy"},
		"half a webhook key":  {"version = 1\n[webhook]\ncertificate = \"/c\"", "webhook.certificate", "go together"},
		"relative webhook":    {"version = 1\n[webhook]\ncertificate = \"c\"\nprivate_key = \"/k\"", "webhook.certificate", "absolute"},
		"guessable path":      {behindProxy + strings.ReplaceAll(bspayWebhooks, "bspay.path", "short.path"), "webhook.provider[0].path", "nobody can guess"},
		"two of one name":     {behindProxy + bspayWebhooks + bspayWebhooks, "webhook.provider[1].name", "another's"},
		"unknown provider":    {behindProxy + strings.ReplaceAll(bspayWebhooks, "type = \"bspay\"", "type = \"ssg\""), "webhook.provider[0].type", "not known here"},
		"no webhook secret":   {behindProxy + strings.ReplaceAll(bspayWebhooks, "callback_secret", "#"), "webhook.provider[0].callback_secret", "nothing could be verified"},
		"no bspaybr secret":   {behindProxy + strings.ReplaceAll(strings.ReplaceAll(bspayWebhooks, "callback_secret", "#"), "type = \"bspay\"", "type = \"bspaybr\""), "webhook.provider[0].webhook_secret", "nothing could be verified"},
		"another's secret":    {behindProxy + strings.ReplaceAll(bspayWebhooks, "type = \"bspay\"", "type = \"bspaybr\""), "webhook.provider[0].callback_secret", "nothing that bspaybr knows"},
		"bank without TLS":    {behindProxy + bankWebhooks + "client_ca = \"/ca\"", "webhook.provider[0].client_ca", "needs TLS"},
		"relative bank":       {behindProxy + bankWebhooks + "client_ca = \"ca\"", "webhook.provider[0].client_ca", "absolute"},
		"bank without CA":     {behindProxy + bankWebhooks, "webhook.provider[0].client_ca", "only the path"},
		"one person":          {"version = 1\n" + person("ana", 1) + payoutAccount, "operator", "fewer than two"},
		"two with one key":    {"version = 1\n" + person("ana", 1) + person("bia", 1), "operator[1].key", "one person could approve for two"},
		"two with one name":   {"version = 1\n" + person("ana", 1) + person("ana", 2), "operator[1].name", "another operator's"},
		"no key":              {"version = 1\n[[operator]]\nname = \"ana\"\nkey = \"x\"", "operator[0].key", "43 characters"},
		"a name with a space": {"version = 1\n" + person("ana b", 1), "operator[0].name", "1 to 32"},
		"no signing key":      {"version = 1\n" + payoutAccount, "provider[0].bspay", "is missing"},
		"another family":      {"version = 1\n" + payoutAccount + "[provider.bspaybr]", "provider[0].bspaybr", "type = \"bspaybr\""},
		"a day below one":     {"version = 1\n" + payoutAccount + "max_payout = \"2.00\"\nmax_day = \"1.00\"", "provider[0].max_day", "less than max_payout"},
		"a bank that pays":    {"version = 1\n" + bankAccount + "max_payout = \"1.00\"\nmax_day = \"1.00\"\n[provider.bacen]\ncertificate_key = { file = \"/etc/ssg-hub/secrets/banco.pem\" }", "provider[0].max_payout", "gives payments back"},
		"no certificate":      {"version = 1\n" + bankAccount + "[provider.bacen]", "provider[0].bacen.certificate_key", "missing"},
		"no such profile":     {"version = 1\n" + bankAccount + "[provider.bacen]\nprofile = \"itau\"", "provider[0].bacen.profile", "no profile"},
		"relative pair":       {"version = 1\n" + bankAccount + "[provider.bacen]\ncertificate = \"hub.pem\"", "provider[0].bacen.certificate", "absolute"},
		"plain payouts":       {"version = 1\n" + strings.Replace(payoutAccount, "https", "http", 1) + "[provider.bspay]\nsigning_key = { file = \"/etc/ssg-hub/secrets/conta.signing\" }", "provider[0].url", "plain HTTP"},
		"no port":             {"version = 1\n[listen]\naddress = \"127.0.0.1\"", "listen.address", "host and port"},
	} {
		t.Run(name, func(t *testing.T) {
			_, f := decode(t, test.text)
			var got []string
			for _, p := range f.Problems() {
				if p.Path == test.path && strings.Contains(p.Message, test.says) {
					return
				}
				got = append(got, p.Path+": "+p.Message)
			}
			t.Errorf("problems %q, want %s: %s", got, test.path, test.says)
		})
	}
}

// What only shows when the hub starts has the key that is to blame in its error.
func TestServeRefuses(t *testing.T) {
	data := t.TempDir()
	if code, _, stderr := hubMain(t, "keys", "make", "--data", data); code != 0 {
		t.Fatal(stderr)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for name, test := range map[string]struct {
		config, says string
		code         int
	}{
		"no such certificate": {"[listen]\ncertificate = \"/nowhere\"\nprivate_key = \"/nowhere\"", "open /nowhere", 2},
		"no such authority":   {"[broker]\naddresses = [\"ssl://h:1\"]\nca = \"/nowhere\"", "broker.ca: open /nowhere", 2},
		"address in use":      {"[listen]\naddress = \"" + taken.Addr().String() + "\"", "address already in use", 1},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "hub.toml")
			if err := os.WriteFile(file, []byte("version = 1\ndata = \""+data+"\"\n"+test.config), 0o600); err != nil {
				t.Fatal(err)
			}
			if code, _, stderr := hubMain(t, "serve", "-c", file); code != test.code || !strings.Contains(stderr, test.says) {
				t.Errorf("exit code %d, %q; want %d and %q", code, stderr, test.code, test.says)
			}
		})
	}
	if code, _, stderr := hubMain(t, "serve", "-c", filepath.Join("..", "..", "configs", "simulator.toml")); code != 2 || !strings.Contains(stderr, "unknown key") {
		t.Errorf("an agent's configuration: exit code %d, %.300q", code, stderr)
	}
}

// TestAccounts: an account is its type, its host and whose it is, not what it is called.
func TestAccounts(t *testing.T) {
	one := ProviderConfig{Name: "conta", Type: "bspay", URL: "https://api.example.com", ClientID: "hub-1"}
	same := one
	same.Name, same.URL = "banco", one.URL+"/"
	if one.account() != same.account() {
		t.Error("a name makes another account")
	}
	for name, change := range map[string]func(*ProviderConfig){
		"type": func(p *ProviderConfig) { p.Type = "bspaybr" }, "url": func(p *ProviderConfig) { p.URL = "https://sandbox.example.com" },
		"client_id": func(p *ProviderConfig) { p.ClientID = "hub-2" },
	} {
		other := one
		if change(&other); other.account() == one.account() {
			t.Errorf("another %s is the same account", name)
		}
	}
}
