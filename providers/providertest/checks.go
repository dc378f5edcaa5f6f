package providertest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/simkit"
)

// check is one clause of the contract.
type check struct {
	name    string
	run     func(*world)
	virtual bool // waits for long times: in memory only
}

var checks = []check{
	{name: "create", run: checkCreate},
	{name: "amounts", run: checkAmounts},
	{name: "amounts_refused", run: checkAmountsRefused},
	{name: "states", run: checkStates},
	{name: "not_found", run: checkNotFound},
	{name: "unknown_word", run: checkUnknownWord},
	{name: "wrong_echo", run: checkWrongEcho},
	{name: "codes", run: checkCodes},
	{name: "not_sent", run: checkNotSent},
	{name: "cancelled_before", run: checkCancelledBefore},
	{name: "cancelled_after", run: checkCancelledAfter},
	{name: "timeouts", run: checkTimeouts, virtual: true},
	{name: "create_faults", run: checkCreateFaults},
	{name: "status_faults", run: checkStatusFaults},
	{name: "token_faults", run: checkTokenFaults},
	{name: "unauthorized", run: checkUnauthorized},
	{name: "rate", run: checkRate},
	{name: "idempotent", run: checkIdempotent},
	{name: "concurrency", run: checkConcurrency},
	{name: "manners", run: checkManners},
	{name: "secrets", run: checkSecrets},
}

func rule(route, fault, arg string) simkit.Rule {
	return simkit.Rule{Route: route, Fault: fault, Arg: arg}
}

// kindOf returns the error's kind, and complains if it is no *providers.Error
// with the adapter's name and an operation.
func (w *world) kindOf(err error) providers.Kind {
	w.Helper()
	e, ok := errors.AsType[*providers.Error](err)
	if !ok {
		w.Errorf("got error %T (%v), want a *providers.Error", err, err)
		return 0
	}
	if e.Provider != w.provider.Name() || e.Op == "" || e.Kind.String() == "" {
		w.Errorf("got error of provider %q, op %q, kind %d, want all set", e.Provider, e.Op, e.Kind)
	}
	return e.Kind
}

func (w *world) wantKind(what string, err error, want ...providers.Kind) {
	w.Helper()
	if got := w.kindOf(err); !slices.Contains(want, got) {
		w.Errorf("%s: got %v error (%v), want %v", what, got, err, want)
	}
}

func checkCreate(w *world) {
	in := w.Intent(1, 1234)
	ch, err := w.provider.CreateCharge(w.Context(), in)
	if err != nil {
		w.Fatal(err)
	}
	ledger := w.Simulator.Charges()
	if len(ledger) != 1 {
		w.Fatalf("the provider has %d charges, want 1", len(ledger))
	}
	line := ledger[0]
	if ch.ProviderID != line.ID || ch.BRCode != line.Code || line.Amount != in.Amount {
		w.Errorf("got charge %q with code %q of %s,\nwant %q with code %q of %s", ch.ProviderID, ch.BRCode, line.Amount, line.ID, line.Code, in.Amount)
	}
	if ch.Status != providers.StatusPending || len(ch.Warnings) != 0 {
		w.Errorf("got status %s with warnings %q, want pending without", ch.Status, ch.Warnings)
	}
	w.wantDigest(ch)
	if !ch.ExpiresAt.IsZero() && !ch.ExpiresAt.Equal(line.Expires) {
		w.Errorf("got expiry %v, the provider has %v", ch.ExpiresAt, line.Expires)
	}
	if line.Expires.IsZero() {
		return
	}
	if left := time.Until(line.Expires); left > in.Expiry || left < in.Expiry-time.Minute {
		w.Errorf("the provider lets the code expire in %v, want %v", left, in.Expiry)
	}
}

func (w *world) wantDigest(ch providers.Charge) {
	w.Helper()
	sum := sha256.Sum256([]byte(w.wire.lastAnswer()))
	if want := hex.EncodeToString(sum[:]); ch.Digest != want {
		w.Errorf("got digest %q, want that of the answer's bytes, %q", ch.Digest, want)
	}
}

func checkAmounts(w *world) {
	for n, amount := range []money.Amount{1, 9, 10, 99, 100, 101, 110, 1005, 1050, 15099, 99999, 100000, 123456789, w.MaxAmount} {
		w.create(n, amount)
		ledger := w.Simulator.Charges()
		if got := ledger[len(ledger)-1].Amount; got != amount {
			w.Errorf("asked for %s, the provider charges %s", amount, got)
		}
	}
}

func checkAmountsRefused(w *world) {
	for n, amount := range []money.Amount{0, -1, -1050, w.MaxAmount + 1} {
		_, err := w.provider.CreateCharge(w.Context(), w.Intent(n, amount))
		if !w.kindOf(err).Permanent() {
			w.Errorf("amount %s: got %v, want a permanent error", amount, err)
		}
	}
	if n := w.Simulator.Log().Count("create"); n != 0 {
		w.Errorf("%d creates were sent, want none", n)
	}
}

func checkStates(w *world) {
	if w.reader == nil {
		return
	}
	paid, expired := w.create(1, 100), w.create(2, 200)
	want := func(id string, status providers.Status) {
		w.Helper()
		ch := w.status(id)
		if ch.Status != status || ch.ProviderID != id || ch.Word == "" || ch.BRCode != "" {
			w.Errorf("got status %q (word %q) of %q with code %q, want %s of %q without a code", ch.Status, ch.Word, ch.ProviderID, ch.BRCode, status, id)
		}
		w.wantDigest(ch)
		if ch.Amount != nil && *ch.Amount != 100 && *ch.Amount != 200 {
			w.Errorf("got amount %s, which nobody charged", *ch.Amount)
		}
	}
	want(paid.ProviderID, providers.StatusPending)
	want(expired.ProviderID, providers.StatusPending)
	if err := errors.Join(w.Simulator.Pay(paid.ProviderID), w.Simulator.Expire(expired.ProviderID)); err != nil {
		w.Fatal(err)
	}
	want(paid.ProviderID, providers.StatusPaid)
	want(expired.ProviderID, w.Ended)
	// Late money.
	if err := w.Simulator.Pay(expired.ProviderID); err != nil {
		w.Fatal(err)
	}
	want(expired.ProviderID, providers.StatusPaid)
}

func checkNotFound(w *world) {
	if w.reader == nil {
		return
	}
	ch, err := w.reader.GetCharge(w.Context(), providers.Ref{ProviderID: w.Absent})
	w.wantKind("a charge nobody made", err, providers.NotFound)
	if ch.Status != "" {
		w.Errorf("got status %q together with an error", ch.Status)
	}
}

func checkUnknownWord(w *world) {
	if w.reader == nil {
		return
	}
	ch := w.create(1, 100)
	for _, word := range []string{"ESTORNADO", "PAGO?", "NAO PAGO", "PAGOS", "approvedd", "0", "true"} {
		w.faults(rule("status", simkit.Word, word))
		got := w.status(ch.ProviderID)
		if got.Status != providers.StatusUncertain || got.Word != word {
			w.Errorf("word %q: got status %q and word %q, want uncertain and the word", word, got.Status, got.Word)
		}
	}
}

func checkWrongEcho(w *world) {
	if w.reader == nil {
		return
	}
	ch := w.create(1, 100)
	w.faults(rule("status", simkit.Echo, ""))
	got, err := w.reader.GetCharge(w.Context(), w.made[ch.ProviderID])
	w.wantKind("an answer about another charge", err, providers.Security)
	if got.Status != "" {
		w.Errorf("got status %q together with an error", got.Status)
	}
}

func checkCodes(w *world) {
	for n, how := range w.CodeFaults {
		w.faults(rule("create", simkit.Code, how))
		ch, err := w.provider.CreateCharge(w.Context(), w.Intent(n, 1234))
		w.wantKind("code fault "+how, err, providers.Security)
		if ch.BRCode != "" {
			w.Errorf("code fault %s: got a code, want none", how)
		}
		if ledger := w.Simulator.Charges(); len(ledger) != n+1 {
			w.Fatalf("code fault %s: the provider has %d charges, want %d", how, len(ledger), n+1)
		} else if ch.ProviderID != ledger[n].ID {
			w.Errorf("code fault %s: got provider id %q, want that of the orphan", how, ch.ProviderID)
		}
	}
}

func checkNotSent(w *world) {
	try := func(when string) {
		w.wire.set(func(l *wire) { l.refuse = true })
		_, err := w.provider.CreateCharge(w.Context(), w.Intent(1, 100))
		w.wantKind("create "+when, err, providers.NotSent)
		if w.reader != nil {
			_, err = w.reader.GetCharge(w.Context(), providers.Ref{ProviderID: w.Absent})
			w.wantKind("status "+when, err, providers.NotSent)
		}
		w.wire.set(func(l *wire) { l.refuse = false })
	}
	try("with nobody there from the start")
	w.create(2, 200) // a token is held now
	before := w.Simulator.Log().Total()
	try("with nobody there later")
	if n := w.Simulator.Log().Total() - before; n != 0 {
		w.Errorf("%d requests arrived, want none", n)
	}
}

func checkCancelledBefore(w *world) {
	w.create(1, 100)
	before := w.Simulator.Log().Total()
	ctx, cancel := context.WithCancel(w.Context())
	cancel()
	_, err := w.provider.CreateCharge(ctx, w.Intent(2, 200))
	w.wantKind("create with a context that is over", err, providers.NotSent)
	if !errors.Is(err, context.Canceled) {
		w.Errorf("got %v, want an error that is context.Canceled", err)
	}
	if n := w.Simulator.Log().Total() - before; n != 0 {
		w.Errorf("%d requests arrived, want none", n)
	}
}

func checkCancelledAfter(w *world) {
	ch := w.create(1, 100)
	try := func(route string, do func(context.Context) error) {
		w.faults(rule(route, simkit.Slow, "1h"))
		before := w.Simulator.Log().Total()
		ctx, cancel := context.WithCancel(w.Context())
		defer cancel()
		result := make(chan error, 1)
		go func() { result <- do(ctx) }()
		if _, err := w.Simulator.Log().Await(w.Context(), before, func(r simkit.Request) bool { return r.Route == route }); err != nil {
			w.Fatal(err)
		}
		cancel()
		err := <-result
		w.wantKind(route+" cancelled while the answer comes in", err, providers.Ambiguous)
		if !errors.Is(err, context.Canceled) {
			w.Errorf("%s: got %v, want an error that is context.Canceled", route, err)
		}
		if n := w.Simulator.Log().Total() - before; n != 1 {
			w.Errorf("%s: %d requests arrived, want 1", route, n)
		}
	}
	try("create", func(ctx context.Context) error {
		_, err := w.provider.CreateCharge(ctx, w.Intent(2, 200))
		return err
	})
	if w.reader != nil {
		try("status", func(ctx context.Context) error {
			_, err := w.reader.GetCharge(ctx, w.made[ch.ProviderID])
			return err
		})
	}
}

func checkTimeouts(w *world) {
	caps := w.provider.Caps()
	if w.Tokens {
		w.faults(rule("token", simkit.Latency, "1h"))
		w.within(caps.CreateTimeout, "create without a token", providers.NotSent, func() error {
			_, err := w.provider.CreateCharge(w.Context(), w.Intent(1, 100))
			return err
		})
		w.faults()
	}
	ch := w.create(2, 200)
	for _, fault := range []string{simkit.Latency, simkit.Slow} {
		w.faults(rule("*", fault, "1h"))
		w.within(caps.CreateTimeout, "create with "+fault, providers.Ambiguous, func() error {
			_, err := w.provider.CreateCharge(w.Context(), w.Intent(3, 300))
			return err
		})
		if w.reader != nil {
			w.within(caps.ReadTimeout, "status with "+fault, providers.Ambiguous, func() error {
				_, err := w.reader.GetCharge(w.Context(), w.made[ch.ProviderID])
				return err
			})
		}
	}
}

func (w *world) within(limit time.Duration, what string, want providers.Kind, do func() error) {
	w.Helper()
	if limit <= 0 {
		w.Errorf("%s: the provider states no time limit", what)
		return
	}
	started := time.Now()
	err := do()
	w.wantKind(what, err, want)
	if took := time.Since(started); took > limit {
		w.Errorf("%s: took %v, want at most %v", what, took, limit)
	}
}

// outcome is a fault with the kinds of error it may lead to.
type outcome struct {
	fault, arg string
	want       []providers.Kind
}

// outcomes are those of any request; a create's are never more certain.
var outcomes = []outcome{
	{simkit.DropBefore, "", []providers.Kind{providers.Ambiguous}},
	{simkit.DropAfter, "", []providers.Kind{providers.Ambiguous}},
	{simkit.Cut, "", []providers.Kind{providers.Ambiguous}},
	{simkit.ErrorAfter, "500", []providers.Kind{providers.Ambiguous}},
	{simkit.ErrorAfter, "503", []providers.Kind{providers.Ambiguous}},
	{simkit.HTTP, "500", []providers.Kind{providers.Ambiguous}},
	{simkit.HTTP, "502", []providers.Kind{providers.Ambiguous}},
	{simkit.Truncate, "", []providers.Kind{providers.Contract}},
	{simkit.HTML, "", []providers.Kind{providers.Contract}},
	{simkit.HTMLAfter, "", []providers.Kind{providers.Contract}},
	{simkit.Huge, "", []providers.Kind{providers.Contract}},
	{simkit.Gzip, "", []providers.Kind{providers.Contract}},
	{simkit.Redirect, "", []providers.Kind{providers.Contract}},
	{simkit.HTTP, "400", []providers.Kind{providers.Invalid}},
	{simkit.HTTP, "403", []providers.Kind{providers.Forbidden, providers.Operator}},
	{simkit.HTTP, "404", []providers.Kind{providers.NotFound, providers.Operator}},
	{simkit.HTTP, "422", []providers.Kind{providers.Invalid}},
	{simkit.HTTP, "429", []providers.Kind{providers.Rate}},
}

func checkCreateFaults(w *world) {
	w.create(0, 100)
	for n, o := range outcomes {
		what := fmt.Sprintf("create with %s %s", o.fault, o.arg)
		w.faults(rule("create", o.fault, o.arg))
		before, log := len(w.Simulator.Charges()), w.Simulator.Log().Count("create")
		ch, err := w.provider.CreateCharge(w.Context(), w.Intent(n, 1234))
		w.wantKind(what, err, o.want...)
		if ch.BRCode != "" {
			w.Errorf("%s: got a code together with an error", what)
		}
		if sent := w.Simulator.Log().Count("create") - log; sent != 1 {
			w.Errorf("%s: %d create requests, want exactly 1", what, sent)
		}
		if made := len(w.Simulator.Charges()) - before; made > 0 && !w.kindOf(err).OutcomeUnknown() {
			w.Errorf("%s: the provider has the charge, yet the error (%v) says it cannot", what, err)
		}
	}
	w.faults()
	w.create(99, 100) // nothing stays broken
}

func checkStatusFaults(w *world) {
	if w.reader == nil {
		return
	}
	id := w.create(0, 100).ProviderID
	if err := w.Simulator.Pay(id); err != nil {
		w.Fatal(err)
	}
	for _, o := range outcomes {
		what := fmt.Sprintf("status with %s %s", o.fault, o.arg)
		w.faults(rule("status", o.fault, o.arg))
		log := w.Simulator.Log().Count("status")
		ch, err := w.reader.GetCharge(w.Context(), w.made[id])
		w.wantKind(what, err, o.want...)
		if ch.Status != "" {
			w.Errorf("%s: got status %q together with an error", what, ch.Status)
		}
		if sent := w.Simulator.Log().Count("status") - log; sent != 1 {
			w.Errorf("%s: %d status requests, want exactly 1", what, sent)
		}
	}
	w.faults()
	if ch := w.status(id); ch.Status != providers.StatusPaid {
		w.Errorf("after the faults: got %s, want paid", ch.Status)
	}
}

// checkTokenFaults: whatever happens to a token request, the create itself was
// not sent, so its outcome is never unknown.
func checkTokenFaults(w *world) {
	if !w.Tokens {
		return
	}
	for n, o := range outcomes {
		what := fmt.Sprintf("create while token has %s %s", o.fault, o.arg)
		w.faults(rule("token", o.fault, o.arg))
		p, err := w.New(w.url, w.wire, nil) // refused credentials and many logins make an old one wait
		if err != nil {
			w.Fatal(err)
		}
		_, err = p.CreateCharge(w.Context(), w.Intent(n, 1234))
		if kind := w.kindOf(err); err == nil || kind.OutcomeUnknown() {
			w.Errorf("%s: got %v, want an error whose outcome is known", what, err)
		}
	}
	if n := w.Simulator.Log().Count("create"); n != 0 {
		w.Errorf("%d creates were sent without a token", n)
	}
}

func checkUnauthorized(w *world) {
	if !w.Tokens {
		return
	}
	log := w.Simulator.Log()
	w.create(1, 100)
	again := rule("create", simkit.HTTP, "401")
	again.Next = 1
	w.faults(again)
	w.create(2, 200)
	if tokens, creates := log.Count("token"), log.Count("create"); tokens != 2 || creates != 3 {
		w.Errorf("after one 401: %d token and %d create requests, want 2 and 3", tokens, creates)
	}
	if n := len(w.Simulator.Charges()); n != 2 {
		w.Errorf("the provider has %d charges, want 2", n)
	}
	again.Next = 2
	w.faults(again)
	_, err := w.provider.CreateCharge(w.Context(), w.Intent(3, 300))
	w.wantKind("two 401 in a row", err, providers.Auth)
	if tokens, creates := log.Count("token"), log.Count("create"); tokens != 3 || creates != 5 {
		w.Errorf("after two 401: %d token and %d create requests in all, want 3 and 5", tokens, creates)
	}
	if w.reader == nil {
		return
	}
	id := w.Simulator.Charges()[0].ID
	w.faults(simkit.Rule{Route: "status", Fault: simkit.HTTP, Arg: "401", Next: 1})
	w.status(id)
	if n := log.Count("status"); n != 2 {
		w.Errorf("after one 401: %d status requests, want 2", n)
	}
}

func checkRate(w *world) {
	id := w.create(0, 100).ProviderID
	for _, tt := range []struct {
		fault, arg string
		want       time.Duration
	}{
		{simkit.Rate, "7s", 7 * time.Second},
		{simkit.RateDate, "7s", 7 * time.Second},
		{simkit.Rate, "0s", 0},
		{simkit.Rate, "24h", providers.MaxRetryAfter},
		{simkit.RateDate, "24h", providers.MaxRetryAfter},
		{simkit.HTTP, "429", 0},
	} {
		w.faults(rule("*", tt.fault, tt.arg))
		_, err := w.provider.CreateCharge(w.Context(), w.Intent(1, 100))
		w.wantRate("create", tt.fault, tt.want, err)
		if w.reader != nil {
			_, err := w.reader.GetCharge(w.Context(), w.made[id])
			w.wantRate("status", tt.fault, tt.want, err)
		}
	}
}

func (w *world) wantRate(op, fault string, want time.Duration, err error) {
	w.Helper()
	w.wantKind(op+" with "+fault, err, providers.Rate)
	if e, ok := errors.AsType[*providers.Error](err); ok && e.RetryAfter != want {
		w.Errorf("%s with %s: got retry after %v, want %v", op, fault, e.RetryAfter, want)
	}
}

// checkIdempotent: where the provider takes our id, whatever happens to requests
// and answers there is one charge, and the next attempt (with PerAttempt: the same
// one, sent again) finds it or is told that it exists.
func checkIdempotent(w *world) {
	if !w.provider.Caps().Idempotent {
		return
	}
	in := w.Intent(1, 1234)
	for _, o := range outcomes {
		w.faults(rule("create", o.fault, o.arg))
		ch, err := w.provider.CreateCharge(w.Context(), in)
		found := slices.ContainsFunc(w.Simulator.Charges(), func(l simkit.Charge) bool { return l.ID == ch.ProviderID && l.Code == ch.BRCode })
		if err == nil && !found { // a refusal may be looked up, and be wrong
			w.Errorf("create with %s %s made a charge", o.fault, o.arg)
		}
		if !w.PerAttempt {
			in.Attempt++
		}
	}
	w.faults()
	if n := len(w.Simulator.Charges()); n != 1 {
		w.Fatalf("after lost answers the provider has %d charges, want 1", n)
	}
	line := w.Simulator.Charges()[0]
	switch ch, err := w.provider.CreateCharge(w.Context(), in); {
	case err != nil:
		w.wantKind("the same charge again", err, providers.Conflict)
	case ch.ProviderID != line.ID || ch.BRCode != line.Code:
		w.Errorf("the same charge again: got %q with code %q, want %q with code %q", ch.ProviderID, ch.BRCode, line.ID, line.Code)
	}
	in.Amount++
	_, err := w.provider.CreateCharge(w.Context(), in)
	w.wantKind("the same id with another amount", err, providers.Conflict)
	if n := len(w.Simulator.Charges()); n != 1 {
		w.Errorf("the provider has %d charges, want 1", n)
	}
}

func checkConcurrency(w *world) {
	const n = 24
	var wg sync.WaitGroup
	ids := make([]string, n)
	for i := range n {
		wg.Go(func() {
			in := w.Intent(i, money.Amount(1000+i))
			ch, err := w.provider.CreateCharge(w.Context(), in)
			if err != nil {
				w.Errorf("create %d: %v", i, err)
				return
			}
			ids[i] = ch.ProviderID
			if w.reader == nil {
				return
			}
			if _, err := w.reader.GetCharge(w.Context(), refTo(in, ch)); err != nil {
				w.Errorf("status %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	amounts := map[string]money.Amount{}
	for _, line := range w.Simulator.Charges() {
		amounts[line.ID] = line.Amount
	}
	for i, id := range ids {
		if amounts[id] != money.Amount(1000+i) {
			w.Errorf("charge %d: the provider has %s under its id, want %s", i, amounts[id], money.Amount(1000+i))
		}
	}
	if len(amounts) != n {
		w.Errorf("the provider has %d charges, want %d", len(amounts), n)
	}
	if got := w.Simulator.Log().Count("token"); w.Tokens && got != 1 {
		w.Errorf("%d token requests for a cold start of %d calls, want 1", got, n)
	}
}

func checkManners(w *world) {
	id := w.create(1, 100).ProviderID
	if w.reader != nil {
		w.status(id)
	}
	if h, ok := w.provider.(providers.HealthChecker); ok {
		before := len(w.Simulator.Charges())
		if err := h.CheckHealth(w.Context()); err != nil {
			w.Errorf("health: %v", err)
		}
		if n := len(w.Simulator.Charges()) - before; n != 0 {
			w.Errorf("the health check created %d charges", n)
		}
		w.wire.set(func(l *wire) { l.refuse = true })
		if err := h.CheckHealth(w.Context()); err == nil {
			w.Errorf("health is fine with nobody there")
		}
		w.wire.set(func(l *wire) { l.refuse = false })
	}
	if w.provider.Name() == "" || strings.ToLower(w.provider.Name()) != w.provider.Name() {
		w.Errorf("got name %q, want a lower-case word", w.provider.Name())
	}
	agent := ""
	for _, req := range w.wire.sent() {
		if a := req.Header.Get("User-Agent"); a == "" || (agent != "" && a != agent) || strings.Contains(a, "Go-http-client") {
			w.Errorf("got user agent %q (before: %q), want one fixed name", a, agent)
		} else {
			agent = a
		}
		if req.Header.Get("Accept") != "application/json" {
			w.Errorf("got Accept %q, want application/json", req.Header.Get("Accept"))
		}
		// net/http silently repeats requests that carry these.
		for _, name := range []string{"Idempotency-Key", "X-Idempotency-Key"} {
			if req.Header.Get(name) != "" && !w.provider.Caps().Idempotent {
				w.Errorf("%s is sent to a provider that does not honour it", name)
			}
		}
		if found := w.leaks(req.URL.String()); found != nil {
			w.Errorf("the address of a request holds %q", found)
		}
	}
	if len(w.wire.sent()) == 0 {
		w.Error("no request was seen")
	}
	for _, line := range []string{http.MethodPatch, http.MethodDelete} {
		if n := w.Simulator.Log().Method(line); n != 0 {
			w.Errorf("%d %s requests, want none", n, line)
		}
	}
}
