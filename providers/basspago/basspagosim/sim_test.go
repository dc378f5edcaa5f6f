package basspagosim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	_ "github.com/ssg-safe/agent/internal/bubbles"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/simkit"
)

func newSim(t *testing.T, o Options) *Sim {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// ask sends a body and returns the answer.
func ask(s *Sim, path, code, body string) (*httptest.ResponseRecorder, map[string]any) {
	r := httptest.NewRequest("POST", path, strings.NewReader(body))
	r.Header.Set("Encrypted-Security-Code", code)
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	var out map[string]any
	_ = json.Unmarshal(w.Body.Bytes(), &out) // a list is none
	return w, out
}

const order = `{"amount":12.34,"externalId":"A1","externalProductId":"P1","externalProductName":"n","key":"` + DefaultKey + `","solicitacao":"s",
	"devedor":{"devedorNome":"n","devedorCep":"01001000","devedorEndereco":"e","devedorBairro":"b","devedorCidade":"c","devedorUf":"SP"}}`

// TestStrict: what is required is required, an externalId is for once, and errors are
// messages under the HTTP status that was chosen.
func TestStrict(t *testing.T) {
	for _, under200 := range []bool{false, true} {
		s := newSim(t, Options{ErrorsUnder200: under200})
		status := http.StatusBadRequest
		if under200 {
			status = http.StatusOK
		}
		for what, change := range map[string][2]string{
			"notValidKey": {DefaultKey, "another"}, "notValid.externalId": {`"A1"`, `""`}, "notValid.amount": {`12.34`, `"12.34"`},
			"notValid.devedorCep": {`01001000`, `01001-000`}, "notValid.devedorBairro": {`"devedorBairro":"b",`, ``}, "badRequest": {`{"amount"`, `"amount"`},
		} {
			if w, out := ask(s, "/any/path/create-paycheckout", "", strings.Replace(order, change[0], change[1], 1)); w.Code != status || out["message"] != what {
				t.Errorf("got %d %s, want %d %s", w.Code, w.Body, status, what)
			}
		}
		_, made := ask(s, "/create-paycheckout", "", order)
		token, _ := made["token"].(string)
		if len(token) != 48 {
			t.Fatalf("got %v", made)
		}
		if w, out := ask(s, "/create-paycheckout", "", order); w.Code != status || out["message"] != "externalIdAlreadyExists" {
			t.Errorf("a second time: got %d %s", w.Code, w.Body)
		}
		if w, out := ask(s, "/obtain-paycheckout", "", `{"token":"nothing"}`); w.Code != status || out["message"] != "notValidKey" {
			t.Errorf("a token of nothing: got %d %s", w.Code, w.Body)
		}
		_, out := ask(s, "/obtain-paycheckout", "", `{"token":"`+token+`"}`)
		if out["status"] != "PENDING" || out["payment"] != nil || out["amount"] != 12.34 || out["externalId"] != "A1" {
			t.Errorf("got %v", out)
		}
		if err := s.Pay("A1"); err != nil {
			t.Fatal(err)
		}
		_, out = ask(s, "/obtain-paycheckout", "", `{"token":"`+token+`"}`)
		if payment, ok := out["payment"].(map[string]any); !ok || out["status"] != "APPROVED" || payment["amountPayed"] != 12.34 {
			t.Errorf("got %v", out)
		}
		if s.Expire("A1") == nil || s.Pay("A2") == nil {
			t.Error("a paid checkout expired, or one that is not there was paid")
		}
	}
}

// TestPages: ten rows unless asked, fifty at most, all of them counted; a filter that
// is not known is ignored, and the whole list comes back.
func TestPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct {
			filters, query string
			rows, total    int
		}{
			{FrameworkFilters, "", 10, 60},
			{FrameworkFilters, "size=500", 50, 60},
			{FrameworkFilters, "page=1&size=50", 10, 60},
			{FrameworkFilters, "page=2&size=50", 0, 60},
			{FrameworkFilters, "createdAt.greaterThanOrEqual=2999-01-01T00:00:00Z", 0, 0},
			{FrameworkFilters, "createdAt.greatherThanOrEqual=2999-01-01T00:00:00Z", 10, 60},
			{DocumentFilters, "createdAt.greatherThanOrEqual=2999-01-01T00:00:00Z", 0, 0},
			{DocumentFilters, "createdAt.greaterThanOrEqual=2999-01-01T00:00:00Z", 10, 60},
			{NoFilters, "createdAt.greaterThanOrEqual=2999-01-01T00:00:00Z&status.equals=REJECTED", 10, 60},
			{FrameworkFilters, "status.equals=REJECTED", 0, 0},
		} {
			s := newSim(t, Options{Filters: tt.filters})
			for range 60 {
				if _, err := s.Shop(100); err != nil {
					t.Fatal(err)
				}
			}
			w, _ := ask(s, "/obtain-paycheckouts-api-list?"+tt.query, s.code(), `{"key":"`+DefaultKey+`"}`)
			var rows []map[string]string
			if err := json.Unmarshal(w.Body.Bytes(), &rows); err != nil || len(rows) != tt.rows || w.Header().Get("X-Total-Count") != fmt.Sprint(tt.total) {
				t.Errorf("%s, %q: got %d rows of %s (%v), want %d of %d", tt.filters, tt.query, len(rows), w.Header().Get("X-Total-Count"), err, tt.rows, tt.total)
			}
			if w, out := ask(s, "/obtain-paycheckouts-api-list", "", `{"key":"`+DefaultKey+`"}`); out["message"] != "notValidKey" {
				t.Errorf("without a code: got %s", w.Body)
			}
		}
	})
}

// TestDurable: a simulator that was killed goes on with what it had, payers on their
// way included.
func TestDurable(t *testing.T) {
	dir := t.TempDir()
	first, err := New(Options{Dir: dir, PayAfter: time.Nanosecond})
	if err != nil {
		t.Fatal(err)
	}
	token, err := first.Shop(4200)
	if err != nil {
		t.Fatal(err)
	}
	ask(first, "/obtain-paycheckout", "", `{"token":"`+token.Reveal()+`"}`)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := newSim(t, Options{Dir: dir})
	if all := second.Charges(); len(all) != 1 || all[0].Amount != 4200 || all[0].Status != providers.StatusPaid {
		t.Errorf("got %+v", all)
	}
}

// TestShop: the control route of a shop, and the doorbell.
func TestShop(t *testing.T) {
	s := newSim(t, Options{})
	if w, _ := ask(s, "/sim/shop", "", `{"amount":"-1"}`); w.Code != http.StatusBadRequest {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	w, out := ask(s, "/sim/shop", "", `{"amount":"42.00"}`)
	if token, _ := out["token"].(string); w.Code != http.StatusOK || len(token) != 48 {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	if n := len(simkit.Webhooks(s.events(), "", "")); n != 0 {
		t.Errorf("%d rings before anything happened", n)
	}
	if err := s.Pay(s.Charges()[0].ID); err != nil {
		t.Fatal(err)
	}
	for fault, word := range map[string]string{"": "APPROVED", UnknownEvent: "REVIEWED"} {
		if all := simkit.Webhooks(s.events(), Doorbell, fault); len(all) != 1 || !strings.Contains(all[0].Body, word) {
			t.Errorf("got %+v", all)
		}
	}
}
