package wire

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/money"
)

func TestTokensRoundTrip(t *testing.T) {
	keys := pinned(t)
	for _, key := range []ed25519.PrivateKey{hubKey, nextKey} {
		for _, want := range exampleTokens(t) {
			text, err := signer(t, key).Sign(want.typ(), want)
			if err != nil {
				t.Fatal(err)
			}
			got, err := open(keys, text, want.typ(), exampleDevice(), exampleNow, true)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(got, want); diff != "" {
				t.Errorf("got before want:\n%s", diff)
			}
			if c := got.claims(); !c.IssuedAt().Equal(exampleNow.Truncate(time.Second)) || c.ExpiresAt().Sub(c.IssuedAt()) != time.Duration(c.Exp-c.Iat)*time.Second {
				t.Errorf("made %v, ends %v", c.IssuedAt(), c.ExpiresAt())
			}
			// Pointers sign as well.
			if again, err := signer(t, key).Sign(want.typ(), pointerTo(want)); err != nil || again != text {
				t.Errorf("by pointer: %v", err)
			}
		}
	}
}

func pointerTo(v any) any {
	p := reflect.New(reflect.TypeOf(v))
	p.Elem().Set(reflect.ValueOf(v))
	return p.Interface()
}

// TestRotation: the old key and the new one are both good while both are
// pinned, and each alone afterwards.
func TestRotation(t *testing.T) {
	ack := exampleTokens(t)[0]
	byOld, err := signer(t, hubKey).Sign(TypAck, ack)
	if err != nil {
		t.Fatal(err)
	}
	byNew, err := signer(t, nextKey).Sign(TypAck, ack)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		pins     []ed25519.PublicKey
		old, new error
	}{
		{[]ed25519.PublicKey{public(hubKey)}, nil, ErrKey},
		{[]ed25519.PublicKey{public(hubKey), public(nextKey)}, nil, nil},
		{[]ed25519.PublicKey{public(nextKey)}, ErrKey, nil},
	} {
		keys, err := NewKeys(step.pins...)
		if err != nil {
			t.Fatal(err)
		}
		var into Ack
		if err := keys.Open([]byte(byOld), TypAck, exampleDevice(), exampleNow, true, &into); !errors.Is(err, step.old) {
			t.Errorf("%d keys: old %v, want %v", len(keys), err, step.old)
		}
		if err := keys.Open([]byte(byNew), TypAck, exampleDevice(), exampleNow, true, &into); !errors.Is(err, step.new) {
			t.Errorf("%d keys: new %v, want %v", len(keys), err, step.new)
		}
	}
}

func TestKeys(t *testing.T) {
	a, b, c := public(hubKey), public(nextKey), public(strangerKey)
	for name, test := range map[string]struct {
		pubs []ed25519.PublicKey
		want int
	}{
		"none":     {nil, 0},
		"one":      {[]ed25519.PublicKey{a}, 1},
		"the same": {[]ed25519.PublicKey{a, a}, 1},
		"two":      {[]ed25519.PublicKey{a, b}, 2},
		"three":    {[]ed25519.PublicKey{a, b, c}, 0},
		"short":    {[]ed25519.PublicKey{a[:31]}, 0},
		"nil":      {[]ed25519.PublicKey{a, nil}, 0},
	} {
		keys, err := NewKeys(test.pubs...)
		if len(keys) != test.want || errors.Is(err, ErrKey) != (test.want == 0) {
			t.Errorf("%s: %d keys, %v", name, len(keys), err)
		}
	}
	for _, text := range []string{
		"", EncodeKey(a)[1:], EncodeKey(a) + "A", EncodeKey(a) + "=", EncodeKey(a)[:42] + "\n" + EncodeKey(a)[42:], strings.Repeat("!", 43),
	} {
		if _, err := ParseKey(text); !errors.Is(err, ErrMalformed) {
			t.Errorf("ParseKey(%q): %v", text, err)
		}
	}
	if got, err := ParseKey(EncodeKey(a)); err != nil || !got.Equal(a) {
		t.Errorf("got %x, %v", got, err)
	}
	var none Keys
	if err := none.Open([]byte(tokenVectors(t).Tokens[0].Token), TypAck, exampleDevice(), exampleNow, true, new(Ack)); !errors.Is(err, ErrKey) {
		t.Errorf("without keys: %v, want ErrKey", err)
	}
	short := Keys{KeyID(a): a[:5]}
	if err := short.Open([]byte(tokenVectors(t).Tokens[0].Token), TypAck, exampleDevice(), exampleNow, true, new(Ack)); !errors.Is(err, ErrKey) {
		t.Errorf("with a short key: %v, want ErrKey", err)
	}
	if _, err := NewSigner(hubKey[:32]); !errors.Is(err, ErrKey) {
		t.Errorf("with half a private key: %v, want ErrKey", err)
	}
}

// TestOpenInto: what is opened goes into a value of the type that belongs to
// typ, and a refused token changes nothing of what was there.
func TestOpenInto(t *testing.T) {
	keys := pinned(t)
	text, err := signer(t, hubKey).Sign(TypAck, exampleTokens(t)[0])
	if err != nil {
		t.Fatal(err)
	}
	for name, into := range map[string]any{
		"another type": new(Pay), "a value": Ack{}, "nil": nil, "a nil pointer": (*Ack)(nil), "claims": new(Claims), "a map": new(map[string]any),
	} {
		if err := keys.Open([]byte(text), TypAck, exampleDevice(), exampleNow, true, into); !errors.Is(err, ErrType) {
			t.Errorf("into %s: %v, want ErrType", name, err)
		}
	}
	before := exampleTokens(t)[1].(Ack)
	into := before
	if err := keys.Open([]byte(text), TypAck, "dother", exampleNow, true, &into); !errors.Is(err, ErrAudience) || !cmp.Equal(into, before) {
		t.Errorf("refused with %v, left %+v", err, into)
	}
	// What was there is replaced as a whole.
	if err := keys.Open([]byte(text), TypAck, exampleDevice(), exampleNow, true, &into); err != nil || into.Want != nil || into.Hold != "" {
		t.Errorf("%v, left %+v", err, into)
	}
}

// TestSignRefuses: the signer signs nothing that no device would take.
func TestSignRefuses(t *testing.T) {
	s := signer(t, hubKey)
	ack := exampleTokens(t)[0].(Ack)
	with := func(change func(*Ack)) Ack {
		a := ack
		change(&a)
		return a
	}
	for name, test := range map[string]struct {
		typ    string
		claims any
		want   error
	}{
		"another typ":     {TypPay, ack, ErrType},
		"unknown typ":     {"cmd+jws", ack, ErrType},
		"a map":           {TypAck, map[string]any{"aud": "d1"}, ErrType},
		"nil":             {TypAck, nil, ErrType},
		"a nil pointer":   {TypAck, (*Ack)(nil), ErrType},
		"no device":       {TypAck, with(func(a *Ack) { a.Aud = "" }), ErrMalformed},
		"no counter":      {TypAck, with(func(a *Ack) { a.Ctr = 0 }), ErrMalformed},
		"large counter":   {TypAck, with(func(a *Ack) { a.Ctr = MaxCounter + 1 }), ErrMalformed},
		"no end":          {TypAck, with(func(a *Ack) { a.Exp = 0 }), ErrMalformed},
		"lives too long":  {TypAck, with(func(a *Ack) { a.Exp = a.Iat + 86401 }), ErrMalformed},
		"no id":           {TypAck, with(func(a *Ack) { a.JTI = "" }), ErrMalformed},
		"seq 0":           {TypAck, with(func(a *Ack) { a.Seq = 0 }), ErrMalformed},
		"want 0":          {TypAck, with(func(a *Ack) { a.Want = &ledger.Position{Epoch: 1} }), ErrMalformed},
		"pay nothing":     {TypPay, Pay{Claims: ack.Claims}, ErrMalformed},
		"pay out nothing": {TypPayout, Payout{Claims: ack.Claims}, ErrMalformed},
		"charge nothing":  {TypCharge, ChargeRequest{Claims: ack.Claims}, ErrMalformed},
	} {
		if got, err := s.Sign(test.typ, test.claims); !errors.Is(err, test.want) || got != "" {
			t.Errorf("%s: got %q, %v; want %v", name, got, err, test.want)
		}
	}
}

// TestSignersKeepTheirKey: nothing that prints a signer prints the key.
func TestSignersKeepTheirKey(t *testing.T) {
	s := signer(t, hubKey)
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("signer", "signer", s, "inside", struct{ S *Signer }{s})
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x", "%q"} {
		fmt.Fprintf(&log, verb+" "+verb+"\n", s, *s)
	}
	seed := hubKey.Seed()
	for _, secret := range []string{fmt.Sprintf("%x", seed), fmt.Sprint(seed[:4])[1:12], fmt.Sprintf("%#v", seed[0]) + ", ", string(seed)} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("%q is in what was printed:\n%s", secret, log.String())
		}
	}
	if !strings.Contains(log.String(), s.Kid()) {
		t.Errorf("the key's id is not in what was printed:\n%s", log.String())
	}
}

// TestAnyTokenOpens: whatever Sign takes, Open gives back.
func TestAnyTokenOpens(t *testing.T) {
	keys, s := pinned(t), signer(t, nextKey)
	ids := rapid.StringMatching(`[A-Za-z0-9._:/@+#=-]{1,64}`)
	texts := rapid.StringMatching(`[ -~À-ÿ€😀 ]{1,60}`)
	rapid.Check(t, func(t *rapid.T) {
		iat := rapid.Int64Range(1, 1<<32).Draw(t, "iat")
		claims := Claims{
			Aud: rapid.StringMatching(`[a-z0-9-]{1,64}`).Draw(t, "aud"), JTI: ids.Draw(t, "jti"), Ctr: rapid.Uint64Range(1, MaxCounter).Draw(t, "ctr"),
			Iat: iat, Exp: iat + rapid.Int64Range(1, 86400).Draw(t, "life"),
		}
		var want token
		switch rapid.IntRange(0, 3).Draw(t, "type") {
		case 0:
			a := Ack{Claims: claims, Epoch: rapid.Uint64().Draw(t, "epoch"), Seq: rapid.Uint64Min(1).Draw(t, "seq"), Hold: HoldEpoch}
			copy(a.Head[:], rapid.SliceOfN(rapid.ByteMin(1), 32, 32).Draw(t, "head"))
			if rapid.Bool().Draw(t, "wants") {
				a.Want = &ledger.Position{Epoch: rapid.Uint64().Draw(t, "want epoch"), Seq: rapid.Uint64Min(1).Draw(t, "want seq")}
			}
			want = a
		case 1:
			want = Pay{
				Claims: claims, Charge: ids.Draw(t, "charge"), Ver: rapid.Uint64Min(1).Draw(t, "ver"), Status: "paid",
				Cents: money.Amount(rapid.Int64Min(1).Draw(t, "cents")), EndToEnd: ids.Draw(t, "e2e"), Route: ids.Draw(t, "route"),
				Account: texts.Draw(t, "account"), ProviderID: texts.Draw(t, "provider"), Attempt: rapid.IntRange(1, 9).Draw(t, "attempt"),
				PaidAt: time.UnixMilli(rapid.Int64Range(0, maxUnix*1000).Draw(t, "paid")).UTC(), Digest: ids.Draw(t, "digest"),
			}
		case 2:
			want = Payout{
				Claims: claims, Payout: ids.Draw(t, "payout"), Kind: "refund", State: rapid.SampledFrom(PayoutStates()).Draw(t, "state"),
				Cents: money.Amount(rapid.Int64Min(1).Draw(t, "cents")), Charge: ids.Draw(t, "charge"), EndToEnd: ids.Draw(t, "e2e"), Digest: ids.Draw(t, "digest"),
			}
		default:
			want = ChargeRequest{
				Claims: claims, Reference: texts.Draw(t, "reference"), Merchant: ids.Draw(t, "merchant"),
				Amount: money.Amount(rapid.Int64Min(1).Draw(t, "amount")), Description: texts.Draw(t, "description"), Present: rapid.Bool().Draw(t, "present"),
			}
		}
		text, err := s.Sign(want.typ(), want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := open(keys, text, want.typ(), claims.Aud, time.Unix(iat, 0), true)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%v\n%s", err, cmp.Diff(got, want))
		}
	})
}

func BenchmarkOpen(b *testing.B) {
	keys := pinned(b)
	text, err := signer(b, hubKey).Sign(TypPay, exampleTokens(b)[2])
	if err != nil {
		b.Fatal(err)
	}
	var p Pay
	b.ReportAllocs()
	for b.Loop() {
		if err := keys.Open([]byte(text), TypPay, exampleDevice(), exampleNow, true, &p); err != nil {
			b.Fatal(err)
		}
	}
}
