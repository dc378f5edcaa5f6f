package wire

import (
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/ssg-safe/agent/ledger"
)

// deflated is the payload that some other implementation might have made.
func deflated(t testing.TB, raw []byte) []byte {
	t.Helper()
	out := bytes.NewBuffer([]byte{packed})
	w, err := flate.NewWriter(out, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(raw); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestPack(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	noise := []byte("{")
	for range 2000 {
		noise = append(noise, byte(r.Uint32()))
	}
	for name, raw := range map[string][]byte{
		"short":  []byte(`{"v":1}`),
		"at 400": []byte("{" + strings.Repeat(" ", PackAbove-2) + "}"),
		"above":  []byte("{" + strings.Repeat(" ", PackAbove-1) + "}"),
		"noise":  noise,
	} {
		payload := Pack(raw)
		if isPacked := payload[0] == packed; isPacked != (name == "above") {
			t.Errorf("%s: packed %v", name, isPacked)
		}
		if len(payload) > len(raw) {
			t.Errorf("%s: grew from %d to %d bytes", name, len(raw), len(payload))
		}
		if again := Pack(payload); !bytes.Equal(again, payload) {
			t.Errorf("%s: packed twice", name)
		}
		if got, err := Unpack(payload); err != nil || !bytes.Equal(got, raw) {
			t.Errorf("%s: got %.40q, %v", name, got, err)
		}
	}
	// What begins otherwise is not made into something that begins rightly.
	zeros := append([]byte{packed}, make([]byte, 10*PackAbove)...)
	if got := Pack(zeros); !bytes.Equal(got, zeros) {
		t.Errorf("packed what is no text: %.40q", got)
	}
}

func TestUnpackRefuses(t *testing.T) {
	whole := deflated(t, []byte(`{"v":1,"sid":"x"}`))
	atLimit := []byte("{" + strings.Repeat(" ", MaxInflated-2) + "}")
	for name, test := range map[string]struct {
		payload []byte
		want    error
	}{
		"empty":            {nil, ErrEncoding},
		"another format":   {[]byte{0x02, 1, 2, 3}, ErrEncoding},
		"gzip":             {[]byte{0x1f, 0x8b, 8, 0}, ErrEncoding},
		"array":            {[]byte("[1]"), ErrEncoding},
		"space in front":   {[]byte(` {"v":1}`), ErrEncoding},
		"only the mark":    {[]byte{packed}, ErrEncoding},
		"cut off":          {whole[:len(whole)-3], ErrEncoding},
		"more behind":      {append(bytes.Clone(whole), 0), ErrEncoding},
		"not deflate":      {append([]byte{packed}, bytes.Repeat([]byte{0xff}, 50)...), ErrEncoding},
		"nothing inside":   {deflated(t, nil), ErrEncoding},
		"array inside":     {deflated(t, []byte("[1]")), ErrEncoding},
		"packed twice":     {deflated(t, whole), ErrEncoding},
		"bomb":             {deflated(t, []byte("{"+strings.Repeat(" ", 4<<20))), ErrTooLarge},
		"one byte too big": {deflated(t, append(bytes.Clone(atLimit), ' ')), ErrTooLarge},
		"large plain":      {append([]byte("{"), make([]byte, MaxPacket)...), ErrTooLarge},
		"large packed":     {append([]byte{packed}, make([]byte, MaxPacket)...), ErrTooLarge},
	} {
		if got, err := Unpack(test.payload); !errors.Is(err, test.want) || got != nil {
			t.Errorf("%s: got %.20q, %v; want %v", name, got, err, test.want)
		}
	}
	if got, err := Unpack(deflated(t, atLimit)); err != nil || !bytes.Equal(got, atLimit) {
		t.Errorf("at the limit: %d bytes, %v", len(got), err)
	}
}

// TestBombsCostLittle: what a hostile payload can make the reader allocate is
// bounded by the limit and not by what the payload would become.
func TestBombsCostLittle(t *testing.T) {
	header, err := marshal(exampleBatch(t))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"long":        "{" + strings.Repeat(" ", 20<<20),
		"empty lines": string(header) + strings.Repeat("\n", MaxInflated-len(header)),
	} {
		bomb := deflated(t, []byte(text))
		if len(bomb) > MaxPacket {
			t.Fatalf("%s: a bomb of %d bytes is no test of what is inside", name, len(bomb))
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := DecodeBatch(bomb)
		runtime.ReadMemStats(&after)
		if !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: got %v, want ErrTooLarge", name, err)
		}
		if got := after.TotalAlloc - before.TotalAlloc; got > 16*MaxInflated {
			t.Errorf("%s: %d bytes were allocated, limit of the inflated size is %d", name, got, MaxInflated)
		}
	}
}

// decodeAny decodes a payload as the type that m is of.
func decodeAny(m Message, payload []byte) (Message, error) {
	return decodeChannel(m.Channel(), payload)
}

func decodeChannel(c Channel, payload []byte) (Message, error) {
	switch c {
	case ChannelState:
		return decodeAs[State](payload)
	case ChannelHello:
		return decodeAs[Hello](payload)
	case ChannelEvt:
		return decodeAs[Evt](payload)
	case ChannelTele:
		return decodeAs[Tele](payload)
	case ChannelRes:
		return decodeAs[Res](payload)
	case ChannelPayGet:
		return decodeAs[PayGet](payload)
	case ChannelPropose:
		return decodeAs[Propose](payload)
	}
	return nil, fmt.Errorf("no plain messages on %s", c)
}

func decodeAs[M Message](payload []byte) (Message, error) {
	m, err := Decode[M](payload)
	return m, err
}

func TestMessagesRoundTrip(t *testing.T) {
	for _, m := range exampleMessages(t) {
		payload, err := Encode(m)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeAny(m, payload)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(got, m); diff != "" {
			t.Errorf("%s: got before want:\n%s", m.Channel(), diff)
		}
	}
}

// TestTimesAreUTC: whatever zone a time came in, it is written in UTC to the
// millisecond, and read back so.
func TestTimesAreUTC(t *testing.T) {
	m := State{V: 1, On: true, SID: "s", Boot: "b", Version: "1", At: exampleNow.In(time.FixedZone("", -3*3600)).Add(987 * time.Microsecond)}
	payload, err := Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	if want := `"at":"2026-07-01T12:00:05.25Z"`; !bytes.Contains(payload, []byte(want)) {
		t.Errorf("got %s, want %s in it", payload, want)
	}
	got, err := Decode[State](bytes.Replace(payload, []byte("12:00:05.25Z"), []byte("09:00:05.25-03:00"), 1))
	if err != nil || got.At != exampleNow {
		t.Errorf("got %v, %v; want %v", got.At, err, exampleNow)
	}
}

func TestEncodeRefuses(t *testing.T) {
	many := make(map[string]uint64)
	for i := range MaxMetrics + 1 {
		many[fmt.Sprint("m", i)] = 1
	}
	details := make(map[string]string)
	for i := range MaxDetails + 1 {
		details[fmt.Sprint("d", i)] = "x"
	}
	evt := Evt{V: 1, SID: "s", ID: "i", Kind: "k", Level: LevelInfo, At: exampleNow, Clock: "synced"}
	with := func(change func(*Evt)) Evt {
		e := evt
		change(&e)
		return e
	}
	for name, test := range map[string]struct {
		m    Message
		want error
	}{
		"no version":       {State{SID: "s"}, ErrVersion},
		"version 2":        {State{V: 2, SID: "s"}, ErrVersion},
		"no sid":           {State{V: 1}, ErrMalformed},
		"on without at":    {State{V: 1, On: true, SID: "s", Boot: "b", Version: "1"}, ErrMalformed},
		"space in sid":     {State{V: 1, SID: "a b"}, ErrMalformed},
		"long sid":         {State{V: 1, SID: strings.Repeat("s", MaxID+1)}, ErrMalformed},
		"device":           {Hello{V: 1, SID: "s", Device: "D 1", Version: "1", Clock: "synced"}, ErrMalformed},
		"clock":            {Hello{V: 1, SID: "s", Device: "d1", Version: "1", Clock: "fine"}, ErrMalformed},
		"counter":          {Hello{V: 1, SID: "s", Device: "d1", Version: "1", Clock: "synced", Ctr: MaxCounter + 1}, ErrMalformed},
		"negative":         {Hello{V: 1, SID: "s", Device: "d1", Version: "1", Clock: "synced", Free: -1}, ErrMalformed},
		"level":            {with(func(e *Evt) { e.Level = "loud" }), ErrMalformed},
		"year 0":           {with(func(e *Evt) { e.At = time.Time{} }), ErrMalformed},
		"name of detail":   {with(func(e *Evt) { e.Detail = map[string]string{"Printer": "x"} }), ErrMalformed},
		"control in text":  {with(func(e *Evt) { e.Detail = map[string]string{"a": "x\ny"} }), ErrMalformed},
		"not UTF-8":        {with(func(e *Evt) { e.Detail = map[string]string{"a": "\xff"} }), ErrMalformed},
		"long text":        {with(func(e *Evt) { e.Detail = map[string]string{"a": strings.Repeat("x", MaxText+1)} }), ErrMalformed},
		"many details":     {with(func(e *Evt) { e.Detail = details }), ErrTooLarge},
		"many counters":    {Tele{V: 1, SID: "s", At: exampleNow, Clock: "synced", Counters: many}, ErrTooLarge},
		"name of counter":  {Tele{V: 1, SID: "s", At: exampleNow, Clock: "synced", Counters: map[string]uint64{"": 1}}, ErrMalformed},
		"ok with a reason": {Res{V: 1, SID: "s", JTI: "j", OK: true, Code: CodeBusy}, ErrMalformed},
		"not ok but done":  {Res{V: 1, SID: "s", JTI: "j", Code: CodeDone}, ErrMalformed},
		"no code":          {Res{V: 1, SID: "s", JTI: "j"}, ErrMalformed},
		"asks nothing":     {PayGet{V: 1, SID: "s"}, ErrMalformed},
		"asks too much":    {PayGet{V: 1, SID: "s", Charges: make([]string, MaxAsked+1)}, ErrMalformed},
		"seals too much":   {Propose{V: 1, SID: "s", Proposal: "p", Sealed: make([]byte, MaxSealed+1)}, ErrTooLarge},
		"proposes nothing": {Propose{V: 1, SID: "s"}, ErrMalformed},
		"asks for no name": {PayGet{V: 1, SID: "s", Charges: []string{""}}, ErrMalformed},
	} {
		if got, err := Encode(test.m); !errors.Is(err, test.want) || got != nil {
			t.Errorf("%s: got %s, %v; want %v", name, got, err, test.want)
		}
	}
}

// TestLargestMessages: what the single limits allow together does not break the
// limit of the whole, so Encode and Sign need not look at it.
func TestLargestMessages(t *testing.T) {
	evt := Evt{V: 1, SID: "s", ID: "i", Kind: "k", Level: LevelInfo, At: exampleNow, Clock: "synced", Detail: map[string]string{}}
	for i := range MaxDetails {
		// A quotation mark is two bytes in JSON.
		evt.Detail[fmt.Sprintf("%064d", i)] = strings.Repeat(`"`, MaxText)
	}
	tele := Tele{V: 1, SID: "s", At: exampleNow, Clock: "synced", Counters: map[string]uint64{}, Gauges: map[string]int64{}}
	for i := range MaxMetrics {
		tele.Counters[fmt.Sprintf("%064d", i)] = 1<<64 - 1
		tele.Gauges[fmt.Sprintf("%064d", i)] = -1 << 63
	}
	ask := PayGet{V: 1, SID: "s"}
	for range MaxAsked {
		ask.Charges = append(ask.Charges, strings.Repeat("C", MaxID))
	}
	offer := Propose{V: 1, SID: "s", Proposal: strings.Repeat("P", MaxID), Sealed: make([]byte, MaxSealed)}
	for _, m := range []Message{evt, tele, ask, offer} {
		payload, err := Encode(m)
		if err != nil {
			t.Errorf("%s: %v", m.Channel(), err)
			continue
		}
		if _, err := decodeAny(m, payload); err != nil {
			t.Errorf("%s: %v", m.Channel(), err)
		}
	}
	id, text := strings.Repeat("i", MaxID), strings.Repeat(`"`, MaxText)
	claims := Claims{Aud: strings.Repeat("d", MaxSegment), JTI: id, Ctr: MaxCounter, Iat: maxUnix - 1, Exp: maxUnix}
	for _, tok := range []token{
		Pay{
			Claims: claims, Charge: id, Ver: math.MaxUint64, Status: "cancelled", Cents: math.MaxInt64, EndToEnd: id, Route: id, Account: text,
			ProviderID: text, Attempt: math.MaxInt32, PaidAt: exampleNow, Digest: id,
		},
		Payout{
			Claims: claims, Payout: id, Kind: "refund", State: "awaiting_approval", Cents: math.MaxInt64, Charge: id, EndToEnd: id, Sent: id, Digest: id, By: id, Reason: text,
		},
		ChargeRequest{Claims: claims, Reference: text, Merchant: id, Amount: math.MaxInt64, Description: text},
		Ack{
			Claims: claims, Epoch: math.MaxUint64, Seq: math.MaxUint64, Head: ledger.Hash{1},
			Want: &ledger.Position{Epoch: math.MaxUint64, Seq: math.MaxUint64}, Hold: Hold(id),
		},
	} {
		signed, err := signer(t, hubKey).Sign(tok.typ(), tok)
		if err != nil {
			t.Errorf("%s: %v", tok.typ(), err)
			continue
		}
		if _, err := open(pinned(t), signed, tok.typ(), claims.Aud, exampleNow, false); err != nil {
			t.Errorf("%s of %d bytes: %v", tok.typ(), len(signed), err)
		}
	}
}

// TestRoundTripOfAnything: whatever Encode takes, Decode gives back; and it
// takes whatever keeps the documented rules.
func TestRoundTripOfAnything(t *testing.T) {
	ids := rapid.StringMatching(`[A-Za-z0-9._:/@+#=-]{1,64}`)
	names := rapid.StringMatching(`[a-z0-9_.]{1,64}`)
	texts := rapid.StringMatching(`[ -~À-ÿ€😀 ]{0,60}`)
	clocks := rapid.SampledFrom([]string{"unsynced", "floor", "synced", "anchored"})
	times := rapid.Custom(func(t *rapid.T) time.Time {
		return time.UnixMilli(rapid.Int64Range(0, maxUnix*1000).Draw(t, "ms")).UTC()
	})
	heads := rapid.Custom(func(t *rapid.T) (h ledger.Head) {
		h.Position = ledger.Position{Epoch: rapid.Uint64().Draw(t, "epoch"), Seq: rapid.Uint64().Draw(t, "seq")}
		copy(h.Hash[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "hash"))
		return h
	})
	rapid.Check(t, func(t *rapid.T) {
		var m Message
		sid := ids.Draw(t, "sid")
		switch rapid.IntRange(0, 6).Draw(t, "type") {
		case 0:
			m = State{V: 1, On: true, SID: sid, Boot: ids.Draw(t, "boot"), Version: "v" + texts.Draw(t, "version"), At: times.Draw(t, "at")}
		case 1:
			m = Hello{
				V: 1, SID: sid, Device: rapid.StringMatching(`[a-z0-9-]{1,64}`).Draw(t, "device"), Version: "v" + texts.Draw(t, "version"),
				Head: heads.Draw(t, "head"), Acked: heads.Draw(t, "acked"), Ctr: rapid.Uint64Max(MaxCounter).Draw(t, "ctr"),
				Clock: clocks.Draw(t, "clock"), Pending: rapid.IntRange(0, 1<<30).Draw(t, "pending"), Free: rapid.Int64Min(0).Draw(t, "free"),
			}
		case 2:
			m = Evt{
				V: 1, SID: sid, ID: ids.Draw(t, "id"), Kind: ids.Draw(t, "kind"), Level: LevelAlarm, At: times.Draw(t, "at"), Clock: clocks.Draw(t, "clock"),
				Detail: rapid.MapOfN(names, texts, 1, MaxDetails).Draw(t, "detail"),
			}
		case 3:
			m = Tele{
				V: 1, SID: sid, At: times.Draw(t, "at"), Clock: clocks.Draw(t, "clock"), UpMS: rapid.Int64Min(0).Draw(t, "up"),
				Counters: rapid.MapOfN(names, rapid.Uint64(), 1, MaxMetrics).Draw(t, "counters"),
				Gauges:   rapid.MapOfN(names, rapid.Int64(), 1, MaxMetrics).Draw(t, "gauges"),
			}
		case 4:
			code := rapid.SampledFrom(append(Codes(), "newer")).Draw(t, "code")
			m = Res{V: 1, SID: sid, JTI: ids.Draw(t, "jti"), OK: code == CodeDone || code == CodeKnown, Code: code, Detail: texts.Draw(t, "detail"), Charge: ids.Draw(t, "charge")}
		case 5:
			m = Propose{V: 1, SID: sid, Proposal: ids.Draw(t, "proposal"), Sealed: rapid.SliceOfN(rapid.Byte(), 1, MaxSealed).Draw(t, "sealed")}
		default:
			m = PayGet{V: 1, SID: sid, Charges: rapid.SliceOfN(ids, 1, MaxAsked).Draw(t, "charges")}
		}
		payload, err := Encode(m)
		if err != nil {
			t.Fatal(err)
		}
		if len(payload) > MaxPacket {
			t.Fatalf("payload of %d bytes", len(payload))
		}
		got, err := decodeAny(m, payload)
		if err != nil || !reflect.DeepEqual(got, m) {
			t.Fatalf("%s: %v\n%s", m.Channel(), err, cmp.Diff(got, m))
		}
	})
}
