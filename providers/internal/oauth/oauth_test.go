package oauth

import (
	"strings"
	"testing"
	"time"
)

// What a session does with a provider is tested where there is one: packages
// ssg and bacen.

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		body string
		want time.Duration // 0: refused
	}{
		{`{"token_type":"Bearer","expires_in":31536000,"access_token":"eyJ0eXAi"}`, 31536000 * time.Second},
		{`{"token_type":"bearer","expires_in":"60","access_token":"x","scope":null}`, time.Minute},
		{`{"token_type":"Bearer","expires_in":9223372036854775807,"access_token":"x"}`, MaxLife},
		{`{"token_type":"mac","expires_in":60,"access_token":"x"}`, 0},
		{`{"expires_in":60,"access_token":"x"}`, 0},
		{`{"token_type":"Bearer","expires_in":0,"access_token":"x"}`, 0},
		{`{"token_type":"Bearer","expires_in":-1,"access_token":"x"}`, 0},
		{`{"token_type":"Bearer","expires_in":1.5,"access_token":"x"}`, 0},
		{`{"token_type":"Bearer","access_token":"x"}`, 0},
		{`{"token_type":"Bearer","expires_in":60,"access_token":""}`, 0},
		{`{"token_type":"Bearer","expires_in":60,"access_token":"a b"}`, 0},
		{`{"token_type":"Bearer","expires_in":60,"access_token":"a\r\nX-Other: 1"}`, 0},
		{`{"token_type":"Bearer","expires_in":60,"access_token":"` + strings.Repeat("x", 8193) + `"}`, 0},
		{`{"message":"Unauthenticated."}`, 0},
	} {
		_, life, err := Parse([]byte(tt.body), 0)
		if life != tt.want || (err == nil) != (tt.want > 0) {
			t.Errorf("%.80s: got %v (%v), want %v", tt.body, life, err, tt.want)
		}
	}
}

// TestParseLoose: where the provider's document says how long tokens live, an
// answer need not repeat it, and what it does say still counts.
func TestParseLoose(t *testing.T) {
	for body, want := range map[string]time.Duration{
		`{"access_token":"x"}`:                                      time.Hour,
		`{"access_token":"x","expires_in":60}`:                      time.Minute,
		`{"access_token":"x","token_type":"bearer"}`:                time.Hour,
		`{"access_token":"x","token_type":"mac"}`:                   0,
		`{"access_token":"x","token_type":""}`:                      0,
		`{"access_token":"x","expires_in":0}`:                       0,
		`{"access_token":"","expires_in":60,"token_type":"Bearer"}`: 0,
		`{"data":{"access_token":"x"}}`:                             0,
	} {
		if _, life, err := Parse([]byte(body), time.Hour); life != want || (err == nil) != (want > 0) {
			t.Errorf("%s: got %v (%v), want %v", body, life, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		``, `null`, `{}`, `[]`, `<!DOCTYPE html>`, `{"message":"Unauthenticated."}`,
		`{"token_type":"Bearer","expires_in":31536000,"access_token":"eyJ0eXAiOiJKV1Qi"}`,
		`{"access_token":"x","token_type":"Bearer","expires_in":300,"scope":"cob.read cob.write pix.read"}`,
		`{"token_type":"bearer","expires_in":"7","access_token":"x"}`, `{"token_type":"Bearer","expires_in":-1,"access_token":"x"}`,
		`{"token_type":"Bearer","expires_in":9223372036854775807,"access_token":"x"}`, `{"token_type":"Bearer","expires_in":1.5,"access_token":"a b"}`,
		`{"token_type":"Bearer","Token_Type":"mac","expires_in":7,"access_token":"x"}`,
	} {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, body []byte, loose bool) {
		var standard time.Duration
		if loose {
			standard = time.Hour
		}
		token, life, err := Parse(body, standard)
		if err != nil {
			return
		}
		if life <= 0 || life > MaxLife || token == "" || strings.ContainsAny(token.Reveal(), " \r\n") {
			t.Errorf("took a token of %d bytes for %v", len(token), life)
		}
	})
}
