package wire

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base32"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ssg-safe/agent/ledger"
)

// The keys of all tests, vectors and documents. Their seeds are public.
var (
	hubKey      = seeded(0x11) // the hub's, pinned
	nextKey     = seeded(0x22) // the hub's next one, pinned too
	strangerKey = seeded(0x33) // pinned nowhere
	deviceKey   = seeded(0x44)
)

func seeded(b byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{b}, ed25519.SeedSize))
}

func public(key ed25519.PrivateKey) ed25519.PublicKey { return key.Public().(ed25519.PublicKey) }

// exampleDevice is named as package device names terminals.
func exampleDevice() string {
	sum := sha256.Sum256(public(deviceKey))
	return "d" + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:10]))
}

// exampleNow is the time of all vectors: 2026-07-01T12:00:05.25Z.
var exampleNow = time.Date(2026, 7, 1, 12, 0, 5, 250e6, time.UTC)

const (
	exampleSID    = "k3vq7m2p5x9c1h8d"
	exampleBoot   = "4be0643f-1d98-573b-97cd-ca98a65347dd"
	exampleCharge = "T1AB06H8K3M5Q7S9V2X4Z6C8E"
	exampleE2E    = "E12345678202607011200abcDEF01234"
)

func pinned(t testing.TB) Keys {
	t.Helper()
	keys, err := NewKeys(public(hubKey), public(nextKey))
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func signer(t testing.TB, key ed25519.PrivateKey) *Signer {
	t.Helper()
	s, err := NewSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// entries are the golden entries of package ledger: 1/1, 1/2 and 1/3.
func entries(t testing.TB) [][]byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "..", "ledger", "testdata", "entries_v1.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Split(bytes.TrimSpace(raw), []byte("\n"))
}

func exampleHead(t testing.TB, seq uint64) ledger.Head {
	t.Helper()
	return ledger.Head{Position: ledger.Position{Epoch: 1, Seq: seq}, Hash: ledger.HashOf(entries(t)[seq-1])}
}

// exampleMessages has every plain message with every member set.
func exampleMessages(t testing.TB) []Message {
	return []Message{
		State{V: 1, On: true, SID: exampleSID, Boot: exampleBoot, Version: "1.4.0", At: exampleNow},
		State{V: 1, SID: exampleSID},
		Hello{
			V: 1, SID: exampleSID, Device: exampleDevice(), Version: "1.4.0",
			Head: exampleHead(t, 3), Acked: exampleHead(t, 1), Ctr: 41, Clock: "synced", Pending: 2, Free: 101_711_872,
		},
		Evt{
			V: 1, SID: exampleSID, ID: "4be0643f/17", Kind: "printer.paper_out", Level: LevelWarn, At: exampleNow, Clock: "synced",
			Detail: map[string]string{"printer": "epson-80", "since": "2026-07-01T11:58:40Z"},
		},
		Tele{
			V: 1, SID: exampleSID, At: exampleNow, Clock: "synced", UpMS: 86_400_123,
			Counters: map[string]uint64{"store.commits": 731, "charge.paid": 94},
			Gauges:   map[string]int64{"store.free": 101_711_872, "rss": 19_398_656},
		},
		Res{V: 1, SID: exampleSID, JTI: "pay-7f3a", OK: true, Code: CodeDone, Charge: exampleCharge},
		Res{V: 1, SID: exampleSID, JTI: "charge-51", Code: CodeInvalid, Detail: "merchant \"loja-9\" is not configured"},
		PayGet{V: 1, SID: exampleSID, Charges: []string{exampleCharge}},
		Propose{V: 1, SID: exampleSID, Proposal: "QH3K7WZ2M5N4T6V7B2C3D4F5G", Sealed: []byte("for the hub alone")},
	}
}

func exampleBatch(t testing.TB) Batch {
	t.Helper()
	head := exampleHead(t, 3)
	signed, err := ledger.Sign(deviceKey, ledger.Checkpoint{Device: exampleDevice(), Head: head, Boot: exampleBoot, Wall: exampleNow})
	if err != nil {
		t.Fatal(err)
	}
	return Batch{
		V: 1, SID: exampleSID, From: ledger.Position{Epoch: 1, Seq: 2}, Prev: exampleHead(t, 1).Hash, Count: 2,
		Checkpoint: &signed, Entries: entries(t)[1:3],
	}
}

func exampleClaims(jti string, ctr uint64, lifetime time.Duration) Claims {
	return Claims{
		Aud: exampleDevice(), JTI: jti, Ctr: ctr,
		Iat: exampleNow.Unix(), Exp: exampleNow.Add(lifetime).Unix(),
	}
}

// exampleTokens has the claims of every token with every member set: an ack, one
// that wants, a pay, a charge, an ack that holds, and a payout.
func exampleTokens(t testing.TB) []token {
	return []token{
		Ack{
			Claims: exampleClaims("ack-9c21", 42, time.Hour),
			Epoch:  1, Seq: 3, Head: exampleHead(t, 3).Hash,
		},
		Ack{
			Claims: exampleClaims("ack-9c22", 43, time.Hour),
			Epoch:  1, Seq: 1, Head: exampleHead(t, 1).Hash, Want: &ledger.Position{Epoch: 1, Seq: 2},
		},
		Pay{
			Claims: exampleClaims("pay-7f3a", 44, 10*time.Minute),
			Charge: exampleCharge, Ver: 2, Status: "paid", Cents: 1050, EndToEnd: exampleE2E,
			Route: "main", Account: "acc-1", ProviderID: "tx_93b1c2", Attempt: 1,
			PaidAt: exampleNow.Add(-2250 * time.Millisecond), Digest: strings.Repeat("3c", 32),
		},
		ChargeRequest{
			Claims:    exampleClaims("charge-51", 45, 2*time.Minute),
			Reference: "pedido 2231", Merchant: "loja-1", Amount: 2500, Description: "Pedido 2231", Present: true,
		},
		Ack{
			Claims: exampleClaims("ack-9c23", 46, time.Hour),
			Epoch:  1, Seq: 3, Head: exampleHead(t, 3).Hash, Hold: HoldEpoch,
		},
		Payout{
			Claims: exampleClaims("payout-3d1b", 47, 10*time.Minute),
			Payout: "HUB001JDQXM3T5001ZK3V9Q7A", Kind: "refund", State: "settled", Cents: 500,
			Charge: exampleCharge, EndToEnd: exampleE2E, Sent: "D12345678202607021000abcDEF01234",
			Digest: strings.Repeat("5e", 32), By: "bia", Reason: "seen in the bank's statement",
		},
	}
}

// TestExamplesSetEveryMember keeps the examples whole: a member that no example
// sets would be tested and documented nowhere.
func TestExamplesSetEveryMember(t *testing.T) {
	set := make(map[string]bool)
	var types []reflect.Type
	add := func(v any) {
		value := reflect.ValueOf(v)
		types = append(types, value.Type())
		for _, f := range reflect.VisibleFields(value.Type()) {
			if !value.FieldByIndex(f.Index).IsZero() {
				set[value.Type().Name()+"."+f.Name] = true
			}
		}
	}
	for _, m := range exampleMessages(t) {
		add(m)
	}
	for _, tok := range exampleTokens(t) {
		add(tok)
	}
	add(exampleBatch(t))
	for _, typ := range types {
		for _, f := range reflect.VisibleFields(typ) {
			if name := typ.Name() + "." + f.Name; !set[name] {
				t.Errorf("no example sets %s", name)
			}
		}
	}
}
