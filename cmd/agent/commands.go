package main

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/closing"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/terminal"
)

// What the command line asks of a running agent beside the API, on the control
// socket alone. Both sides are this program, so nothing of it is a contract.
const (
	backupPath    = "/command/backup"
	closingPath   = "/command/closing"
	offlinePath   = "/command/offline"
	reconcilePath = "/command/reconcile"
	headHeader    = "Ssg-Ledger-Head"
)

// backupTime is how long a backup may take. Pages of the store stay occupied
// meanwhile.
const backupTime = 5 * time.Minute

func (f *front) commands() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"GET " + backupPath: f.backup, "POST " + closingPath: f.closing,
		"GET " + offlinePath: f.unfound, "POST " + offlinePath: f.match,
		"POST " + reconcilePath: f.reconcile,
	}
}

// backup sends a copy of the store.
func (f *front) backup(w http.ResponseWriter, r *http.Request) {
	var head ledger.Head
	err := f.store.View(func(tx *bbolt.Tx) (err error) {
		head, err = ledger.GetHead(tx)
		return err
	})
	if err == nil {
		err = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(backupTime))
	}
	if err != nil {
		commandFailed(w, http.StatusInternalServerError, err)
		return
	}
	w.Header().Set(headHeader, head.Position.String())
	if err := f.store.Backup(w); err != nil {
		f.log.Warn("backup", "err", err)
		panic(http.ErrAbortHandler) // the client must not take it for complete
	}
}

// closing looks at a business day, or closes it.
func (f *front) closing(w http.ResponseWriter, r *http.Request) {
	var asked terminal.ClosingRequest
	if err := json.NewDecoder(io.LimitReader(r.Body, 4<<10)).Decode(&asked); err != nil {
		commandFailed(w, http.StatusBadRequest, err)
		return
	}
	report, err := f.terminal.Closing(r.Context(), asked)
	switch {
	case errors.Is(err, closing.ErrNothing), errors.Is(err, terminal.ErrNoPrinter):
		commandFailed(w, http.StatusConflict, err)
	case err != nil:
		commandFailed(w, http.StatusServiceUnavailable, err)
	default:
		_ = json.NewEncoder(w).Encode(report) // the client sees an answer that is cut off
	}
}

// unfound lists the charges made offline whose payment was not found yet.
func (f *front) unfound(w http.ResponseWriter, _ *http.Request) {
	var list []charge.Charge
	err := f.store.View(func(tx *bbolt.Tx) (err error) {
		list, err = terminal.Unfound(tx)
		return err
	})
	if err != nil {
		commandFailed(w, http.StatusInternalServerError, err)
		return
	}
	_ = json.NewEncoder(w).Encode(list) // the client sees an answer that is cut off
}

// match settles one of them with a line of the bank's statement.
func (f *front) match(w http.ResponseWriter, r *http.Request) {
	var m match
	if err := json.NewDecoder(io.LimitReader(r.Body, 4<<10)).Decode(&m); err != nil {
		commandFailed(w, http.StatusBadRequest, err)
		return
	}
	fact, err := f.terminal.MatchStatement(r.Context(), m.Charge, m.Line)
	if err != nil {
		commandFailed(w, http.StatusConflict, err)
		return
	}
	_ = json.NewEncoder(w).Encode(matched{fact.Kind()}) // the client sees an answer that is cut off
}

// commandFailed answers as the API does, as far as a command reads it.
func commandFailed(w http.ResponseWriter, status int, err error) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"detail": err.Error()})
}
