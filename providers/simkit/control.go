package simkit

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/ssg-safe/agent/providers"
)

// ErrNoCharge is returned for an id that a simulator did not issue.
var ErrNoCharge = errors.New("no such charge")

// Ledger is what the control routes show and change of a simulator.
type Ledger interface {
	// Charges is the ledger, oldest first.
	Charges() []Charge
	// Pay pays a charge now, also one that has expired: late money.
	Pay(id string) error
	// Expire expires a charge now; one that is paid stays paid, with an error.
	Expire(id string) error
}

// Control adds the control routes that every simulator has:
//
//	GET  /sim/ledger               all charges
//	POST /sim/charges/{id}/pay     pay now; after expiry this is late money
//	POST /sim/charges/{id}/expire  unless it is paid
//	GET  /sim/faults               the fault script; PUT replaces it (text or JSON), DELETE clears it
//	GET  /sim/requests             the request log
func (k *Kit) Control(mux *http.ServeMux, l Ledger) {
	Show(mux, "/sim/ledger", func() any { return l.Charges() })
	Show(mux, "/sim/requests", func() any { return k.log.Requests() })
	Show(mux, "/sim/faults", func() any { return k.script.Rules() })
	Act(mux, "POST /sim/charges/{id}/pay", func(r *http.Request) error { return l.Pay(r.PathValue("id")) })
	Act(mux, "POST /sim/charges/{id}/expire", func(r *http.Request) error { return l.Expire(r.PathValue("id")) })
	Act(mux, "DELETE /sim/faults", func(*http.Request) error { return k.script.Set() })
	Act(mux, "PUT /sim/faults", func(r *http.Request) error {
		text, err := io.ReadAll(io.LimitReader(r.Body, providers.MaxBody))
		if err != nil {
			return err
		}
		rules, err := ParseRules(string(text))
		if err != nil {
			return err
		}
		return k.script.Set(rules...)
	})
}

// Show adds a control route that shows something as JSON.
func Show(mux *http.ServeMux, path string, what func() any) {
	mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, what()) })
}

// Act adds a control route that does something: 204, 404 for [ErrNoCharge], 400
// for any other error.
func Act(mux *http.ServeMux, pattern string, do func(*http.Request) error) {
	mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		status := http.StatusBadRequest
		switch err := do(r); {
		case err == nil:
			w.WriteHeader(http.StatusNoContent)
			return
		case errors.Is(err, ErrNoCharge):
			status = http.StatusNotFound
			fallthrough
		default:
			reply(w, status, map[string]string{"message": err.Error()})
		}
	})
}

func reply(w http.ResponseWriter, status int, body any) {
	text, err := json.MarshalIndent(body, "", "  ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(append(text, '\n')) // the client may have gone
}
