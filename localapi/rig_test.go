package localapi_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/closing"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/localapi"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/payout"
	"github.com/ssg-safe/agent/proposal"
	"github.com/ssg-safe/agent/queue"
	"github.com/ssg-safe/agent/redact"
	"github.com/ssg-safe/agent/store"
	"github.com/ssg-safe/agent/store/storetest"
	"github.com/ssg-safe/agent/ticket"
)

// The tokens of the tests, by what they may do.
const (
	tokenAll    = "all-0123456789abcdef0123456789abcdef"
	tokenCharge = "charge-0123456789abcdef0123456789abcd"
	tokenRead   = "read-0123456789abcdef0123456789abcdef"
	tokenOther  = "other-0123456789abcdef0123456789abcde"
)

// rig is a server on a loopback address, over a real store and a desk that
// records charges in it.
type rig struct {
	*testing.T
	store  *store.Store
	desk   *desk
	server *localapi.Server
	addr   string
}

// newRigWithout is one that is not served.
func newRigWithout(t *testing.T) *rig {
	t.Helper()
	st := storetest.Run(t, storetest.Options(t, func(tx *bbolt.Tx) error {
		_, err := ledger.Verify(tx, ledger.Head{})
		return err
	}, slices.Concat(ledger.Migrations, queue.Migrations, ticket.Migrations, proposal.Migrations)...))
	return &rig{T: t, store: st, desk: &desk{store: st, references: map[string]charge.ID{}, bodies: map[string]string{}}}
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := newRigWithout(t)
	l, err := localapi.Listen("127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.addr = l.Addr().String()
	r.server = localapi.New(r.options())
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.server.Serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("server: %v", err)
		}
	})
	return r
}

func (r *rig) options() localapi.Options {
	all := localapi.Scopes()
	return localapi.Options{
		Desk: r.desk, Store: r.store, Hosts: []string{r.addr, "terminal.example"}, Origins: []string{"https://pdv.example"},
		Status: func(context.Context) (localapi.Status, error) {
			return localapi.Status{
				Terminal: "T001", Device: "d", Version: "v", Screen: localapi.ScreenStatus{State: "idle"},
				Printer: localapi.PrinterStatus{State: "ok"}, Network: "ok", Routes: []localapi.RouteStatus{{Provider: "ssg"}, {Provider: "banco", Out: true, Why: "not_sent"}},
				Link:  localapi.LinkStatus{Configured: true, Acknowledged: "1:0"},
				Clock: localapi.ClockStatus{Time: time.Now().UTC(), Quality: "synced"},
			}, nil
		},
		Metrics: func() map[string]int64 { return map[string]int64{"store.commits": r.store.Stats().Commits} },
		Tokens: []localapi.Token{
			{Name: "all", Scopes: all, Secret: tokenAll},
			{Name: "charge", Scopes: []localapi.Scope{localapi.ScopeCharge}, Secret: tokenCharge},
			{Name: "read", Scopes: []localapi.Scope{localapi.ScopeRead}, Secret: tokenRead},
			{Name: "other", Scopes: []localapi.Scope{localapi.ScopeCharge, localapi.ScopeRead}, Secret: redact.Secret(tokenOther)},
		},
		Logger: slog.New(slog.NewTextHandler(r.Output(), nil)),
	}
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

// ask sends a request with a token and holds the answer against the contract.
func (r *rig) ask(token, method, path, body string, headers ...string) answer {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+r.addr+path, strings.NewReader(body))
	if err != nil {
		r.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			req.Host = headers[i+1]
		}
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		r.Fatalf("%s %s: %v", method, path, err)
	}
	return r.taken(method, path, resp)
}

func (r *rig) taken(method, path string, resp *http.Response) answer {
	r.Helper()
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		r.Fatalf("%s %s: %d, %v after %q", method, path, resp.StatusCode, err, raw)
	}
	if kind := resp.Header.Get("Content-Type"); kind != "" {
		keep(r, method, pattern(path), resp.StatusCode, kind, raw)
	}
	return answer{resp.StatusCode, resp.Header, string(raw)}
}

// pattern is the contract's name for a path.
func pattern(path string) string {
	path, _, _ = strings.Cut(path, "?")
	parts := strings.Split(path, "/")
	if len(parts) > 3 && (parts[2] == "charges" || parts[2] == "tickets" || parts[2] == "proposals") {
		parts[3] = "{id}"
	}
	return strings.Join(parts, "/")
}

// raw sends bytes on a connection of its own, ends its sending if half says so,
// and reads the answer.
func (r *rig) raw(bytes string, half bool) (answer, error) {
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		return answer{}, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return answer{}, err
	}
	if _, err := io.WriteString(conn, bytes); err != nil {
		return answer{}, err
	}
	if half {
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			return answer{}, err
		}
	}
	got, err := io.ReadAll(conn)
	if errors.Is(err, syscall.ECONNRESET) && len(got) > 0 { // it did not read all that we sent
		err = nil
	}
	head, body, _ := strings.Cut(string(got), "\r\n\r\n")
	a := answer{body: head + body}
	if _, scan := fmt.Sscanf(head, "HTTP/1.1 %d", &a.status); scan != nil {
		err = errors.Join(err, scan)
	}
	return a, err
}

func (r *rig) head() ledger.Head {
	r.Helper()
	var h ledger.Head
	if err := r.store.View(func(tx *bbolt.Tx) (err error) {
		h, err = ledger.GetHead(tx)
		return err
	}); err != nil {
		r.Fatal(err)
	}
	return h
}

// desk is a terminal without devices: it records charges, and what it is told
// to refuse it refuses.
type desk struct {
	store *store.Store

	mu         sync.Mutex // guards what follows
	made       []charge.ID
	references map[string]charge.ID
	bodies     map[string]string
	refusing   error // what every change is answered with; nil: done
	calls      int   // changes that were asked for
	closed     []closing.Report
}

func (d *desk) refuse(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refusing = err
}

// asked counts a change.
func (d *desk) asked() error {
	d.calls++
	return d.refusing
}

func refusal(c localapi.Code) error {
	return &localapi.Refusal{Code: c, Err: errors.New("so it was told")}
}

func (d *desk) record(ctx context.Context, drafts ...ledger.Draft) error {
	return d.store.Commit(ctx, store.Op{Name: "desk", Do: func(tx *bbolt.Tx) error {
		for _, draft := range drafts {
			draft.Actor = "terminal"
			if _, err := ledger.Append(tx, ledger.Stamp{Wall: time.Now(), Quality: ledger.Synced}, draft); err != nil {
				return err
			}
		}
		return nil
	}})
}

func draft(f charge.Fact) ledger.Draft {
	out := ledger.Draft{Op: f.Op(), Kind: f.Kind(), Data: f, Postings: charge.Postings(f)}
	if p := f.Proof(); p != nil {
		out.Evidence = p
	}
	return out
}

func (d *desk) Start(ctx context.Context, o localapi.Order) (charge.ID, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.asked(); err != nil {
		return "", err
	}
	key, body := o.Source+" "+o.Reference, fmt.Sprint(o.Amount, o.Merchant, o.Description, o.Expiry, o.Present, o.Payer.Document.Reveal())
	if id, ok := d.references[key]; ok {
		if d.bodies[key] != body {
			return "", refusal(localapi.ReferenceTaken)
		}
		return id, nil
	}
	switch {
	case o.Merchant != "" && o.Merchant != "loja":
		return "", refusal(localapi.MerchantUnknown)
	case o.Amount < 100 || o.Amount > 500000:
		return "", refusal(localapi.AmountRefused)
	}
	sum := sha256.Sum256([]byte(key))
	id := charge.ID("T001" + strings.ToUpper(fmt.Sprintf("%x", sum))[:21])
	d.made = append(d.made, id)
	d.references[key], d.bodies[key] = id, body
	return id, d.record(ctx,
		draft(charge.CreatedFact{
			Charge: id, Merchant: "loja", Route: "ssg", Account: "acc", Amount: o.Amount, Expiry: 300,
			Source: o.Source, Reference: o.Reference, Present: o.Present != localapi.PresentNever,
		}),
		draft(charge.AttemptFact{Charge: id, N: 1, State: charge.Accepted, ProviderID: "p1"}))
}

// pay records that a charge was paid after it had ended.
func (d *desk) pay(t testing.TB, id charge.ID, amount money.Amount, endToEnd string) {
	t.Helper()
	f := charge.PaidFact{Charge: id, Attempt: 1, Amount: amount, Late: true, Evidence: charge.Evidence{
		Source: charge.FromProvider, Route: "ssg", Account: "acc", Attempt: 1, ProviderID: "p1", Amount: &amount, EndToEnd: endToEnd, Digest: "d",
	}}
	if err := d.record(t.Context(), draft(f)); err != nil {
		t.Fatal(err)
	}
}

func (d *desk) Cancel(ctx context.Context, id charge.ID) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.asked(); err != nil {
		return err
	}
	return d.record(ctx, draft(charge.EndedFact{Charge: id, State: charge.Cancelled, Reason: "payer"}))
}

func (d *desk) Reprint(context.Context, charge.ID) (localapi.Slip, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return localapi.Slip{Kind: "receipt", NSU: 1, Copy: 2, State: "issued"}, d.asked()
}

func (d *desk) Settle(_ context.Context, _ bool, ids []uint64) ([]queue.Job, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var jobs []queue.Job
	for _, id := range ids {
		jobs = append(jobs, queue.Job{ID: id, Op: "slip/1/1", Kind: "print", State: "lost", Attempts: 1})
	}
	return jobs, d.asked()
}

// Close closes a day of one charge: each number, as long as they follow.
func (d *desk) Close(ctx context.Context, c localapi.Closure) (closing.Report, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.asked(); err != nil {
		return closing.Report{}, err
	}
	for _, old := range d.closed {
		if old.Number == c.Number {
			return old, nil
		}
	}
	if c.Number != uint64(len(d.closed)+1) {
		return closing.Report{}, refusal(localapi.ClosingNumber)
	}
	r := d.day()
	r.Number = c.Number
	d.closed = append(d.closed, r)
	return r, d.record(ctx, ledger.Draft{Op: fmt.Sprintf("closing/loja/%d", r.Number), Kind: closing.Kind, Data: r})
}

// CloseTicket closes a ticket of the store.
func (d *desk) CloseTicket(ctx context.Context, id, by string, how ticket.How) (closed ticket.Ticket, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.asked(); err != nil {
		return closed, err
	}
	err = d.store.Commit(ctx, store.Op{Name: "close ticket", Do: func(tx *bbolt.Tx) (err error) {
		closed, err = ticket.Close(tx, ledger.Stamp{Wall: time.Now(), Quality: ledger.Synced}, id, by, how)
		return err
	}})
	for is, code := range map[error]localapi.Code{ticket.ErrNotFound: localapi.TicketNotFound, ticket.ErrClosed: localapi.TicketClosed} {
		if errors.Is(err, is) {
			err = &localapi.Refusal{Code: code, Err: err}
		}
	}
	return closed, err
}

// Propose makes a proposal in the store.
func (d *desk) Propose(ctx context.Context, o localapi.ProposalOrder) (made proposal.Record, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.asked(); err != nil {
		return made, err
	}
	p := proposal.Proposal{
		ID: proposal.IDOf("d", o.Reference), Kind: payout.ToKey, Reference: o.Reference, Merchant: "loja", Amount: o.Amount,
		Source: o.Source, By: o.By, Sealed: proposal.SealedHash([]byte("sealed")),
	}
	if o.Charge != "" {
		p.Kind, p.Charge, p.EndToEnd, p.Provider, p.Sealed = payout.Refund, string(o.Charge), o.EndToEnd, "ssg", ""
	}
	err = d.store.Commit(ctx, store.Op{Name: "propose", Do: func(tx *bbolt.Tx) (err error) {
		made, _, err = proposal.Make(tx, ledger.Stamp{Wall: time.Now(), Quality: ledger.Synced}, "d", p, o.Details, []byte("sealed"))
		return err
	}})
	for is, code := range map[error]localapi.Code{proposal.ErrReference: localapi.ReferenceTaken, proposal.ErrInvalid: localapi.ProposalRefused} {
		if errors.Is(err, is) {
			err = &localapi.Refusal{Code: code, Err: err}
		}
	}
	return made, err
}

// open opens a ticket in the store.
func (d *desk) open(t testing.TB, subject string) (opened ticket.Ticket) {
	t.Helper()
	amount := money.Amount(1500)
	err := d.store.Commit(t.Context(), store.Op{Name: "open ticket", Do: func(tx *bbolt.Tx) (err error) {
		opened, _, err = ticket.Open(tx, ledger.Stamp{Wall: time.Now(), Quality: ledger.Synced}, "terminal", subject, ticket.Ticket{
			Kind: "late", Charge: "T001XXXXXXXXXXXXXXXXXXXXX", Merchant: "loja", Provider: "ssg", Owner: "financeiro",
			Charged: &amount, Ledger: &amount, Deadline: time.Now().Add(-time.Hour),
		})
		return err
	}})
	if err != nil {
		t.Fatal(err)
	}
	return opened
}

func (d *desk) Look(merchant string) (closing.Report, uint64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if merchant != "" && merchant != "loja" {
		return closing.Report{}, 0, refusal(localapi.MerchantUnknown)
	}
	return d.day(), uint64(len(d.closed) + 1), nil
}

func (d *desk) day() closing.Report {
	return closing.Report{
		Merchant: "loja", Date: "2026-07-01", From: ledger.Position{Epoch: 1, Seq: 1}, To: ledger.Position{Epoch: 1, Seq: 5},
		Lines:    []closing.Line{{Provider: "ssg", Created: closing.Total{Count: 1, Sum: 1500}, Paid: closing.Total{Count: 1, Sum: 1500}}},
		Postings: map[ledger.Account]money.Amount{ledger.PixClearing: 1500, ledger.Sales: -1500},
	}
}

const code = "00020126330014br.gov.bcb.pix0111123456789095204000053039865802BR5909FULANO DE6009SAO PAULO62070503***6304ABCD"

func (d *desk) Charge(id charge.ID) (localapi.Record, error) {
	r := localapi.Record{
		Code: code, Merchant: localapi.Merchant{ID: "loja", CNPJ: "11222333000181", Name: "Loja"},
		Provider: localapi.Provider{Name: "ssg", Type: "ssg", CNPJ: "11444777000161"},
		Slips:    []localapi.Slip{{Kind: "qr", NSU: 1, Copy: 1, State: "printed"}},
	}
	var facts []charge.Fact
	err := d.store.View(func(tx *bbolt.Tx) error {
		for pos, raw := range ledger.Entries(tx, ledger.Position{}) {
			if charge.SubjectOf(raw) != id {
				continue
			}
			e, err := ledger.Decode(bytes.Clone(raw))
			if err != nil {
				return err
			}
			proof := e.Evidence
			if string(proof) == "null" {
				proof = nil
			}
			f, err := charge.Decode(e.Kind, e.Data, proof)
			if err != nil {
				return err
			}
			if r.Newest = pos; len(facts) == 0 {
				r.Created = e.At.Wall
			}
			facts = append(facts, f)
		}
		return nil
	})
	if err != nil || len(facts) == 0 {
		return r, errors.Join(err, refusal(localapi.ChargeNotFound))
	}
	r.Charge, err = charge.Fold(facts)
	return r, err
}

func (d *desk) Charges(before ledger.Position, limit int) (list []localapi.Record, next ledger.Position, err error) {
	d.mu.Lock()
	made := slices.Clone(d.made)
	d.mu.Unlock()
	for _, id := range slices.Backward(made) {
		r, err := d.Charge(id)
		if err != nil {
			return nil, next, err
		}
		if before.Seq > 0 && !r.Newest.Before(before) {
			continue
		}
		if len(list) == limit {
			return list, next, nil
		}
		list, next = append(list, r), ledger.Position{Epoch: r.Newest.Epoch, Seq: r.Newest.Seq - 1}
	}
	return list, ledger.Position{}, nil
}

func (d *desk) Open() ([]localapi.Record, error) {
	list, _, err := d.Charges(ledger.Position{}, 1000)
	return slices.DeleteFunc(list, func(r localapi.Record) bool { return !r.Charge.State.Open() }), err
}
