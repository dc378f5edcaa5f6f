package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ssg-safe/agent/device"
	"github.com/ssg-safe/agent/providers/simkit"
)

const facadeSecret = "a-secret-of-the-safe-0123456789abcdef"

// edit replaces pieces of the kiosk's configuration, in pairs; each must be there.
func (k *kiosk) edit(pairs ...string) {
	k.Helper()
	text, err := os.ReadFile(k.config)
	if err != nil {
		k.Fatal(err)
	}
	s := string(text)
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(s, pairs[i]) {
			k.Fatalf("the configuration has no %q", pairs[i])
		}
		s = strings.ReplaceAll(s, pairs[i], pairs[i+1])
	}
	if err := os.WriteFile(k.config, []byte(s), 0o600); err != nil {
		k.Fatal(err)
	}
}

// A safe that speaks SSG (our own adapter, in an agent of its own) charges through
// the façade of another agent, whose provider is another: the code is that
// provider's, and what it says is paid is paid on both. A kill in the middle logs
// nobody out and loses nothing.
func TestFacade(t *testing.T) {
	behind := newKiosk(t, "--provider", "bspay", "--pay-after", "0s")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(facadeSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	behind.edit(`type = "ssg"`, `type = "bspay"`, `client_id = "sim-client"`, "client_id = \"sim-client\"\nallowed_hosts = [\"pix.bspay.example\"]",
		"[api]", fmt.Sprintf(`[facade]
listen = %q
[[facade.client]]
name = "cofre"
client_id = "cofre-01"
client_secret = { file = %q }
account_id = "06919b2b-4274-457a-84b0-4cf4de1405fb"
merchant = "simulador"
[api]`, addr, secret))
	safe := newKiosk(t)
	safe.edit(safe.sim, "http://"+addr, `client_id = "sim-client"`, `client_id = "cofre-01"`, `{ env = "SSG_CLIENT_SECRET" }`, fmt.Sprintf("{ file = %q }", secret),
		`allow_insecure_http = true`, "allow_insecure_http = true\nallowed_hosts = [\"pix.bspay.example\"]")
	behind.start()
	safe.start()

	made := safe.charge("POST", "/v1/charges", `{"reference":"venda-1","amount":1500,"expiry_seconds":600,"present":"never"}`)
	if !eventually(t, func() bool {
		made = safe.charge("GET", "/v1/charges/"+made.ID, "")
		return made.BRCode != ""
	}) {
		t.Fatalf("the safe has no code: %+v", made)
	}
	var list struct {
		Charges []struct{ ID, Source, State, BRCode string }
	}
	read := func(k *kiosk) {
		t.Helper()
		raw, err := k.curl("GET", "/v1/charges", "")
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(raw, &list); err != nil || len(list.Charges) != 1 {
			t.Fatalf("%s, %v: want one charge", raw, err)
		}
	}
	read(behind)
	if c := list.Charges[0]; c.Source != "facade:cofre" || c.State != "pending" || c.BRCode != made.BRCode {
		t.Errorf("behind the façade %+v, before it %+v", c, made)
	}
	var theirs []simkit.Charge
	if err := json.Unmarshal(httpDo(t, "GET", behind.sim+"/sim/ledger", nil), &theirs); err != nil || len(theirs) != 1 || theirs[0].Amount != 1500 {
		t.Fatalf("the provider has %+v, %v", theirs, err)
	}

	// A stranger, and the call that would mark it paid.
	for _, path := range []string{"/api/pix/" + list.Charges[0].ID, "/api/qrcode/status"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPatch, "http://"+addr+path, strings.NewReader(`{"status":"PAGO"}`))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("PATCH %s: %s", path, resp.Status)
		}
	}

	behind.kill()
	behind.start()
	if c := safe.charge("GET", "/v1/charges/"+made.ID, ""); c.State != "pending" {
		t.Errorf("before it was paid: %+v", c)
	}
	httpDo(t, "POST", behind.sim+"/sim/charges/"+theirs[0].ID+"/pay", nil)
	for _, k := range []*kiosk{behind, safe} {
		if !eventually(t, func() bool {
			read(k)
			return list.Charges[0].State == "paid"
		}) {
			t.Errorf("not paid: %+v", list)
		}
	}
	if c := safe.charge("GET", "/v1/charges/"+made.ID, ""); len(c.Payments) != 1 || c.Payments[0].Amount != 1500 || c.Payments[0].Kind != "settles" {
		t.Errorf("the safe has %+v", c.Payments)
	}
}

// What people get wrong about the façade, and where they are told.
func TestFacadeConfiguration(t *testing.T) {
	example, err := os.ReadFile("../../configs/kiosk-serial.toml")
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct{ from, to, path, says string }{
		"nowhere":           {`listen = "127.0.0.1:8019"`, `listen = ""`, "facade.listen", "is empty"},
		"no address":        {`listen = "127.0.0.1:8019"`, `listen = "cofre"`, "facade.listen", "is no address"},
		"plain":             {`listen = "127.0.0.1:8019"`, `listen = "0.0.0.0:8019"`, "facade.certificate", "other machines"},
		"plain, and known":  {`listen = "127.0.0.1:8019"`, "listen = \"0.0.0.0:8019\"\nallow_insecure_http = true", "facade.allow_insecure_http", "in the clear"},
		"half":              {`listen = "127.0.0.1:8019"`, "listen = \"127.0.0.1:8019\"\ncertificate = \"/c\"", "facade.certificate", "go together"},
		"relative":          {`listen = "127.0.0.1:8019"`, "listen = \"127.0.0.1:8019\"\ncertificate = \"c\"\nprivate_key = \"/k\"", "facade.certificate", "absolute"},
		"nobody":            {"[[facade.client]]", "[ignored]", "facade.client", "there is none"},
		"odd name":          {`name = "cofre"`, `name = "Cofre 1"`, "facade.client[0].name", "plain name"},
		"short secret":      {"facade-cofre.secret", "mqtt.password", "facade.client[0].client_secret", "too short"},
		"no UUID":           {"account_id = \"06919b2b-4274", "account_id = \"xx919b2b-4274", "facade.client[0].account_id", "not a UUID"},
		"no such merchant":  {"merchant = \"padaria\"", "merchant = \"padeira\"", "facade.client[0].merchant", "no such merchant"},
		"always on screen":  {"merchant = \"padaria\"", "merchant = \"padaria\"\npresent = \"always\"", "facade.client[0].present", "never"},
		"a token for years": {`listen = "127.0.0.1:8019"`, "listen = \"127.0.0.1:8019\"\ntoken_life = \"99999h\"", "facade.token_life", "8760h"},
	} {
		t.Run(name, func(t *testing.T) {
			before, after, _ := strings.Cut(string(example), "[facade]")
			if !strings.Contains(after, test.from) {
				t.Fatalf("no %q in the example", test.from)
			}
			file := filepath.Join(t.TempDir(), "agent.toml")
			if err := os.WriteFile(file, []byte(before+"[facade]"+strings.Replace(after, test.from, test.to, 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			_, f := loadExample(t, file, unchanged)
			var got []string
			for _, p := range f.Problems() {
				if p.Path == test.path && strings.Contains(p.Message+p.Remedy, test.says) {
					return
				}
				got = append(got, p.Path+": "+p.Message)
			}
			t.Errorf("problems %q, want %s: %s", got, test.path, test.says)
		})
	}
}

func TestDoctorOnTheFacade(t *testing.T) {
	pair := func(life time.Duration) FacadeConfig {
		path := filepath.Join(t.TempDir(), "facade.pem")
		if err := os.WriteFile(path, []byte(clientPair(t, life)), 0o600); err != nil {
			t.Fatal(err)
		}
		return FacadeConfig{Listen: "0.0.0.0:8443", Certificate: path, PrivateKey: path}
	}
	missing := pair(time.Hour)
	missing.PrivateKey = "/nowhere"
	for want, c := range map[string]FacadeConfig{
		"":                   {},
		"facade_ok":          pair(365 * 24 * time.Hour),
		"facade_expires":     pair(24 * time.Hour),
		"facade_expired":     pair(-time.Hour),
		"facade_certificate": missing,
		"facade_plain":       {Listen: "0.0.0.0:8019", AllowInsecureHTTP: true},
	} {
		var got []string
		d := &doctor{cfg: Config{Facade: c}, clock: device.NewClock(time.Time{}), texts: doctorEnglish, report: func(f finding) { got = append(got, f.Code) }}
		d.checkFacade(t.Context())
		if strings.Join(got, " ") != want {
			t.Errorf("found %q, want %q", got, want)
		}
	}
}
