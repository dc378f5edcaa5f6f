package bacen

import (
	"strings"
	"testing"
)

const samplePix = `{"endToEndId":"E00000000202601010001aaaaaaaaaaa","txid":"T00100000000000000000000011","valor":"10.00","horario":"2026-01-01T00:01:00Z","infoPagador":"obrigada"`

func TestWebhook(t *testing.T) {
	bare, err := ParseWebhook([]byte(samplePix + "}"))
	if err != nil {
		t.Fatal(err)
	}
	listed, err := ParseWebhook([]byte(`{"pix":[` + samplePix + "}," + strings.Replace(samplePix, "0001a", "0002a", 1) + `,"devolucoes":[{"id":"1","valor":"4.00","status":"DEVOLVIDO"}]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if len(bare) != 1 || len(listed) != 2 || bare[0] != listed[0] {
		t.Fatalf("bare %+v, listed %+v", bare, listed)
	}
	if e := bare[0]; e.Amount != 1000 || e.TxID != "T00100000000000000000000011" || e.Returned != 0 || len(e.Key) != 64 {
		t.Errorf("read %+v", e)
	}
	if e := listed[1]; e.Returned != 400 || e.Key == listed[0].Key {
		t.Errorf("read %+v", e)
	}
	given, err := ParseWebhook([]byte(samplePix + `,"devolucoes":[{"id":"1","valor":"4.00","status":"DEVOLVIDO"}]}`))
	if err != nil || given[0].Key == bare[0].Key {
		t.Errorf("money that was given back is the same event as its arrival: %+v, %v", given, err)
	}
	for _, bad := range []string{
		``, `{}`, `[]`, `{"pix":[]}`, `{"pix":{}}`, `{"pix":[{}]}`, `{"pix":[null]}`, `{"evento":"teste_webhook"}`, samplePix,
		strings.Replace(samplePix, "10.00", "10.001", 1) + "}", strings.Replace(samplePix, "T001", "T-01", 1) + "}",
	} {
		if got, err := ParseWebhook([]byte(bad)); err == nil {
			t.Errorf("took %s: %+v", bad, got)
		}
	}
}

func FuzzWebhook(f *testing.F) {
	for _, s := range []string{``, `{}`, samplePix + "}", `{"pix":[` + samplePix + `}]}`, `{"pix":[` + samplePix + `,"devolucoes":{"valor":"1.00","status":"DEVOLVIDO"}}]}`, `{"pix":null}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		events, err := ParseWebhook(body)
		if err != nil {
			return
		}
		if len(events) == 0 {
			t.Error("no events and no error")
		}
		for _, e := range events {
			if len(e.EndToEnd) != 32 || e.Amount <= 0 || e.Returned < 0 || len(e.Key) != 64 || len(e.TxID) > 35 {
				t.Errorf("took %+v", e)
			}
		}
	})
}
