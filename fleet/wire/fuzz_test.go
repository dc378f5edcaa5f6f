package wire

import (
	"bytes"
	"encoding/hex"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func FuzzParseTopic(f *testing.F) {
	for _, up := range []bool{true, false} {
		for _, c := range Channels(up) {
			f.Add(Topic{"acme", "s1", exampleDevice(), up, c}.String())
		}
	}
	f.Add("fleet/v1/acme/s1/d1/down/+")
	f.Fuzz(func(t *testing.T, s string) {
		topic, err := ParseTopic(s)
		if err != nil {
			if wordOf(err) != "topic" || topic != (Topic{}) {
				t.Fatalf("%+v, %v", topic, err)
			}
			return
		}
		if topic.String() != s || topic.Check() != nil || len(s) > MaxTopic {
			t.Fatalf("%q became %q", s, topic)
		}
	})
}

func FuzzUnpack(f *testing.F) {
	for _, v := range payloadVectors(f) {
		payload, err := hex.DecodeString(v.Payload)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(payload)
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		raw, err := Unpack(payload)
		if err != nil {
			if word := wordOf(err); word != "too_large" && word != "encoding" || raw != nil {
				t.Fatalf("%d bytes, %v", len(raw), err)
			}
			return
		}
		if len(raw) > MaxInflated || raw[0] != '{' {
			t.Fatalf("%d bytes: %.20q", len(raw), raw)
		}
		// What fits plainly comes back as it was.
		again := Pack(raw)
		if len(again) > MaxPacket {
			return
		}
		if got, err := Unpack(again); err != nil || !bytes.Equal(got, raw) {
			t.Fatalf("packed again: %v", err)
		}
	})
}

func FuzzDecodeBatch(f *testing.F) {
	for _, v := range payloadVectors(f) {
		payload, err := hex.DecodeString(v.Payload)
		if err != nil {
			f.Fatal(err)
		}
		if raw, err := Unpack(payload); err == nil {
			f.Add(raw)
		}
		f.Add(payload)
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		b, err := DecodeBatch(payload)
		if err != nil {
			if b.Entries != nil {
				t.Fatalf("refused, but decoded: %+v", b)
			}
			return
		}
		if n := len(b.Entries); n == 0 || n > MaxBatchEntries || n != b.Count || b.At(n-1).Seq < b.From.Seq {
			t.Fatalf("%d entries from %v, count %d", n, b.From, b.Count)
		}
		if b.Checkpoint != nil && bytes.ContainsAny(b.Checkpoint.Checkpoint, " \t\r\n") {
			return // Encode refuses what it cannot write as it is
		}
		again, err := b.Encode()
		if err != nil {
			// A plain packet may hold what does not fit with the header that we
			// write; nothing else can go wrong.
			if wordOf(err) != "too_large" {
				t.Fatal(err)
			}
			return
		}
		if got, err := DecodeBatch(again); err != nil || !cmp.Equal(got, b) {
			t.Fatalf("again: %v\n%s", err, cmp.Diff(got, b))
		}
	})
}

func FuzzDecode(f *testing.F) {
	channels := Channels(true)
	for _, v := range messageVectors(f) {
		if len(v.Text) > 4096 {
			continue
		}
		for i, c := range channels {
			if c == v.Channel {
				f.Add(uint8(i), []byte(v.Text))
			}
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, payload []byte) {
		c := channels[int(which)%len(channels)]
		if c == ChannelLedger {
			return
		}
		m, err := decodeChannel(c, payload)
		if err != nil {
			if !reflect.ValueOf(m).IsZero() {
				t.Fatalf("refused, but decoded: %+v", m)
			}
			return
		}
		again, err := Encode(m)
		if err != nil {
			t.Fatalf("%+v: %v", m, err)
		}
		if got, err := decodeChannel(c, again); err != nil || !reflect.DeepEqual(got, m) {
			t.Fatalf("again: %v\n%s", err, cmp.Diff(got, m))
		}
	})
}

// FuzzOpen gives Open whole tokens, and properly signed ones with any header
// and payload, so that it also gets behind the signature.
func FuzzOpen(f *testing.F) {
	for _, v := range tokenVectors(f).Tokens {
		if len(v.Token) < 2000 {
			f.Add(v.Typ, v.Token, "", "")
		}
	}
	kid := KeyID(public(hubKey))
	for _, tok := range exampleTokens(f) {
		f.Add(tok.typ(), "", headText(tok.typ(), kid), claimsText(f, tok))
	}
	keys := pinned(f)
	f.Fuzz(func(t *testing.T, typ, text, head, body string) {
		signed := text == ""
		if signed {
			text = jws(hubKey, head, body)
		}
		got, err := open(keys, text, typ, exampleDevice(), exampleNow, true)
		if got == nil {
			return // no such typ
		}
		if err != nil {
			if !reflect.ValueOf(got).IsZero() {
				t.Fatalf("refused, but decoded: %+v", got)
			}
			return
		}
		c := got.claims()
		if got.typ() != typ || c.Aud != exampleDevice() || c.Ctr == 0 || c.ExpiresAt().Before(exampleNow.Add(-ClockLeeway)) {
			t.Fatalf("opened %+v", got)
		}
		again, err := signer(t, hubKey).Sign(typ, got)
		if err != nil {
			t.Fatalf("%+v: %v", got, err)
		}
		if same, err := open(keys, again, typ, exampleDevice(), time.Unix(c.Iat, 0), true); err != nil || !reflect.DeepEqual(same, got) {
			t.Fatalf("again: %v\n%s", err, cmp.Diff(same, got))
		}
	})
}
