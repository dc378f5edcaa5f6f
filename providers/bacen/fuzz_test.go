package bacen

import (
	"strings"
	"testing"

	"github.com/ssg-safe/agent/providers"
)

const sampleCob = `{"txid":"T00100000000000000000000011","revisao":0,"status":"CONCLUIDA","chave":"12345678000195","location":"pix.bank.example/qr/v2/7",` +
	`"loc":{"id":1,"location":"pix.bank.example/qr/v2/7","tipoCob":"cob"},"calendario":{"criacao":"2026-01-01T00:00:00.000Z","expiracao":3600},` +
	`"valor":{"original":"10.00","modalidadeAlteracao":0},"pixCopiaECola":"000201","pix":[{"endToEndId":"E00000000202601010001aaaaaaaaaaa",` +
	`"txid":"T00100000000000000000000011","valor":"10.00","horario":"2026-01-01T00:01:00Z","devolucoes":[{"id":"R1","rtrId":"D00000000202601010001aaaaaaaaaaa","valor":"0.50","status":"DEVOLVIDO"},{"valor":"1.00","status":"DEVOLVIDO"}]}]}`

func FuzzCob(f *testing.F) {
	for _, s := range []string{
		sampleCob, sampleCob[:len(sampleCob)/2], ``, `null`, `{}`, `[]`, `{"txid":7}`,
		strings.Replace(sampleCob, "10.00", "10.001", 1), strings.Replace(sampleCob, "3600", "1e400", 1),
		strings.Replace(sampleCob, `"status"`, `"Status":"ATIVA","status"`, 1), strings.Replace(sampleCob, `"criacao":"2`, `"criacao":"9`, 1),
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		c, err := parseCob(body)
		if err != nil {
			return
		}
		if !isTxID(c.txid, 26) || c.amount <= 0 || c.expiry <= 0 || c.key == "" || c.word == "" {
			t.Errorf("took %+v", c)
		}
		ids := map[string]bool{}
		for _, p := range c.payments {
			if p.amount <= 0 || ids[p.endToEnd] || len(p.endToEnd) != 32 {
				t.Errorf("took payment %+v", p)
			}
			ids[p.endToEnd] = true
		}
	})
}

func FuzzPage(f *testing.F) {
	for _, s := range []string{
		``, `{}`, `{"pix":[]}`, `{"pix":[{}]}`, `{"pix":[null]}`, `{"parametros":{"paginacao":{"quantidadeDePaginas":99999999999999999999}}}`,
		`{"parametros":{"paginacao":{"paginaAtual":0,"quantidadeDePaginas":1,"quantidadeTotalDeItens":1}},"pix":[{"endToEndId":"E00000000202601010001aaaaaaaaaaa","txid":"` + static + `","valor":"1.00","horario":"2026-01-01T00:00:00Z"}]}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := parsePage(body, static, false)
		if err != nil {
			return
		}
		if p.pages < 0 || p.total < 0 || p.number < 0 || len(p.payments) > p.rows {
			t.Errorf("took %+v", p)
		}
		for _, pay := range p.payments {
			if pay.txid != static || pay.amount <= 0 {
				t.Errorf("took payment %+v", pay)
			}
		}
		if all, err := parsePage(body, "", true); err == nil && (len(all.payments) != all.rows || len(all.payments) < len(p.payments)) {
			t.Errorf("of %d rows %d are payments", all.rows, len(all.payments))
		}
	})
}

func FuzzFailure(f *testing.F) {
	for _, s := range []string{
		``, `{}`, `{"type":"https://pix.bcb.gov.br/api/v2/error/X","title":"T","violacoes":[{"razao":"R","propriedade":"p"},7]}`, `{"error":{}}`,
	} {
		f.Add([]byte(s))
	}
	h := providers.HTTP{Provider: Name}
	f.Fuzz(func(t *testing.T, body []byte) {
		code, detail := parseFailure(body)
		e := h.Fail(providers.Call{Op: "x"}, providers.Invalid, providers.Answer{}, code, detail, nil)
		if n := len([]rune(e.Error())); n > 400 {
			t.Errorf("an error of %d characters", n)
		}
	})
}

func FuzzProfile(f *testing.F) {
	files, err := embedded.ReadDir("profiles")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		text, err := embedded.ReadFile("profiles/" + file.Name())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte("version = 1\nname = \"x\"\n[headers]\nAuthorization = \"x\"\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := ParseProfile("x.toml", text)
		if err != nil {
			return
		}
		if len(p.problems()) > 0 {
			t.Errorf("took a profile with %v", p.problems())
		}
		for _, scope := range p.Scopes {
			if strings.Contains(scope, "pix.write") {
				t.Error("took a scope that gives money back")
			}
		}
	})
}
