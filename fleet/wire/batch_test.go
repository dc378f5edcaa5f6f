package wire

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ssg-safe/agent/ledger"
)

func TestBatchRoundTrip(t *testing.T) {
	want := exampleBatch(t)
	payload, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeBatch(payload)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("got before want:\n%s", diff)
	}
	if c, err := got.Checkpoint.Check(public(deviceKey)); err != nil || c.Head != exampleHead(t, 3) {
		t.Errorf("checkpoint %+v, %v", c, err)
	}
	// What is hashed came through as it was.
	prev := got.Prev
	for i, raw := range got.Entries {
		e, err := ledger.Decode(raw)
		if err != nil || e.Position() != got.At(i) || e.Prev != prev.String() {
			t.Errorf("entry %v: %+v, %v", got.At(i), e, err)
		}
		prev = ledger.HashOf(raw)
	}
	// Either way of calling is right.
	raw, err := Unpack(payload)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := DecodeBatch(raw); err != nil || !cmp.Equal(again, want) {
		t.Errorf("from the text: %v", err)
	}
}

// entry makes one of the given size.
func entry(p ledger.Position, size int) []byte {
	head := fmt.Sprintf(`{"v":1,"epoch":%d,"seq":%d,"data":"`, p.Epoch, p.Seq)
	return []byte(head + strings.Repeat("x", max(0, size-len(head)-2)) + `"}`)
}

func run(from ledger.Position, sizes ...int) Batch {
	b := Batch{V: 1, SID: "s", From: from, Count: len(sizes)}
	for i, size := range sizes {
		b.Entries = append(b.Entries, entry(b.At(i), size))
	}
	return b
}

func TestBatchLimits(t *testing.T) {
	many := make([]int, MaxBatchEntries)
	for i := range many {
		many[i] = MaxBatchBytes / MaxBatchEntries
	}
	from := ledger.Position{Epoch: 1, Seq: 1}
	for name, test := range map[string]struct {
		batch Batch
		want  error
	}{
		"100 entries":         {run(from, many...), nil},
		"101 entries":         {run(from, append(many, 64)...), ErrTooLarge},
		"32 KiB":              {run(from, MaxBatchBytes/2, MaxBatchBytes/2), nil},
		"more than 32 KiB":    {run(from, MaxBatchBytes/2, MaxBatchBytes/2+1), ErrTooLarge},
		"one large entry":     {run(from, MaxEntry), nil},
		"one entry too large": {run(from, MaxEntry+1), ErrTooLarge},
		"last sequence":       {run(ledger.Position{Epoch: math.MaxUint64, Seq: math.MaxUint64 - 2}, 64, 64), nil},
		"sequence overflows":  {run(ledger.Position{Epoch: 1, Seq: math.MaxUint64 - 1}, 64, 64), ErrMalformed},
		"sequence 0":          {run(ledger.Position{Epoch: 1}, 64), ErrMalformed},
		"no entries":          {run(from), ErrMalformed},
	} {
		payload, err := test.batch.Encode()
		if !errors.Is(err, test.want) {
			t.Errorf("%s: encode: %v, want %v", name, err, test.want)
		}
		if err == nil {
			if got, err := DecodeBatch(payload); err != nil || !cmp.Equal(got, test.batch) {
				t.Errorf("%s: decode: %v", name, err)
			}
			continue
		}
		// The reader does not rely on the writer.
		if _, err := DecodeBatch(Pack(rawBatch(test.batch))); !errors.Is(err, test.want) {
			t.Errorf("%s: decode: %v, want %v", name, err, test.want)
		}
	}
}

// rawBatch writes a batch without checking anything.
func rawBatch(b Batch) []byte {
	header, err := marshal(b)
	if err != nil {
		panic(err)
	}
	return append(append(header, '\n'), append(bytes.Join(b.Entries, []byte("\n")), '\n')...)
}

// TestNoEntryIsTooLargeToSend: an entry as large as the ledger takes fits into
// a packet even when its text is the least compressible that UTF-8 allows; it
// would block everything behind it for ever otherwise.
func TestNoEntryIsTooLargeToSend(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	b := exampleBatch(t)
	b.From = ledger.Position{Epoch: math.MaxUint64, Seq: math.MaxUint64 - 9}
	head := fmt.Sprintf(`{"v":1,"epoch":%d,"seq":%d,"data":"`, b.From.Epoch, b.From.Seq)
	text := []byte(head)
	for len(text) < MaxEntry-5 {
		// Every character as likely as its share of all texts of this length,
		// which is when the bytes have the most entropy: x^-n for n bytes.
		switch u := r.Float64(); {
		case u < 0.44:
			if c := byte(' ' + r.IntN(95)); c != '"' && c != '\\' {
				text = append(text, c)
			}
		case u < 0.95:
			text = append(text, string(rune(0x80+r.IntN(0x780)))...)
		default:
			text = append(text, string(rune(0x1000+r.IntN(0xc000)))...)
		}
	}
	b.Entries = [][]byte{append(text, `"}`...)}
	// Only with a first line that says more than we ever write it does not.
	larger := b
	said, err := marshal(map[string]string{"x": strings.ToValidUTF8(string(text[100:3800]), "")})
	if err != nil {
		t.Fatal(err)
	}
	larger.Checkpoint = &ledger.Signed{Checkpoint: said, Signature: make([]byte, 64)}
	if _, err := larger.Encode(); !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), "payload") {
		t.Errorf("with a large first line: %v, want ErrTooLarge of the payload", err)
	}
	payload, err := b.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := DecodeBatch(payload); err != nil || !bytes.Equal(got.Entries[0], b.Entries[0]) {
		t.Errorf("decode: %v", err)
	}
	t.Logf("an entry of %d bytes is a payload of %d", len(b.Entries[0]), len(payload))
}

func TestBatchRefuses(t *testing.T) {
	good := exampleBatch(t)
	text := string(rawBatch(good))
	if _, err := DecodeBatch([]byte(text)); err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(text, "\n")
	long := good
	long.SID = strings.Repeat("s", MaxBatchHeader)
	for name, test := range map[string]struct {
		text string
		want error
	}{
		"nothing":                {"", ErrEncoding},
		"not even a line":        {strings.TrimSuffix(lines[0], "\n"), ErrMalformed},
		"header only":            {lines[0], ErrMalformed},
		"version 2":              {strings.Replace(text, `{"v":1,`, `{"v":2,`, 1), ErrVersion},
		"no version":             {strings.Replace(text, `{"v":1,`, `{`, 1), ErrMalformed},
		"no sid":                 {strings.Replace(text, `"sid":"`+exampleSID+`",`, ``, 1), ErrMalformed},
		"no seq in from":         {strings.Replace(text, `,"seq":2}`, `}`, 1), ErrMalformed},
		"long header":            {string(rawBatch(long)), ErrTooLarge},
		"count too high":         {strings.Replace(text, `"count":2`, `"count":3`, 1), ErrMalformed},
		"count too low":          {strings.Replace(text, `"count":2`, `"count":1`, 1), ErrMalformed},
		"entry without version":  {strings.Replace(text, `{"v":1,"epoch":1,"seq":3,`, `{"v":,"epoch":1,"seq":3,`, 1), ErrMalformed},
		"entry goes on":          {strings.Replace(text, `{"v":1,"epoch":1,"seq":3,`, `{"v":1,"epoch":1,"seq":31,`, 1), ErrMalformed},
		"count negative":         {strings.Replace(text, `"count":2`, `"count":-2`, 1), ErrMalformed},
		"from elsewhere":         {strings.Replace(text, `,"seq":2}`, `,"seq":1}`, 1), ErrMalformed},
		"another epoch":          {strings.Replace(text, `"from":{"epoch":1`, `"from":{"epoch":2`, 1), ErrMalformed},
		"entries swapped":        {lines[0] + lines[2] + lines[1], ErrMalformed},
		"entry twice":            {lines[0] + lines[1] + lines[1], ErrMalformed},
		"last line open":         {strings.TrimSuffix(text, "\n"), ErrMalformed},
		"empty line":             {text + "\n", ErrMalformed},
		"carriage return":        {strings.ReplaceAll(text, "\n", "\r\n"), ErrMalformed},
		"entry without epoch":    {strings.Replace(text, `{"v":1,"epoch":1,"seq":3,`, `{"v":1,"seq":3,`, 1), ErrMalformed},
		"seq with zeros":         {strings.Replace(text, `{"v":1,"epoch":1,"seq":3,`, `{"v":1,"epoch":1,"seq":03,`, 1), ErrMalformed},
		"short hash":             {strings.Replace(text, `"prev":"`, `"prev":"0`, 1), ErrMalformed},
		"upper-case hash":        {strings.Replace(text, `"prev":"`+good.Prev.String(), `"prev":"`+strings.ToUpper(good.Prev.String()), 1), ErrMalformed},
		"checkpoint of a number": {replaceCheckpoint(t, good, `7`), ErrMalformed},
		"null checkpoint":        {strings.Replace(lines[0], `"checkpoint":{`, `"checkpoint":null,"x":{`, 1) + lines[1] + lines[2], ErrMalformed},
		"signature cut":          {strings.Replace(text, `"signature":"`, `"signature":"AAAA`, 1), ErrMalformed},
	} {
		if got, err := DecodeBatch([]byte(test.text)); !errors.Is(err, test.want) || got.Entries != nil {
			t.Errorf("%s: got %+v, %v; want %v", name, got, err, test.want)
		}
	}
}

func replaceCheckpoint(t *testing.T, b Batch, with string) string {
	t.Helper()
	text := string(rawBatch(b))
	if n := strings.Count(text, string(b.Checkpoint.Checkpoint)); n != 1 {
		t.Fatalf("the checkpoint is there %d times", n)
	}
	return strings.Replace(text, string(b.Checkpoint.Checkpoint), with, 1)
}

// TestBatchToleratesNewerEntries: what is inside an entry is not looked at, so
// that one that the hub cannot digest is quarantined there, and not sent for
// ever.
func TestBatchToleratesNewerEntries(t *testing.T) {
	b := Batch{V: 1, SID: "s", From: ledger.Position{Epoch: 7, Seq: 9}, Entries: [][]byte{
		[]byte(`{"v":2,"epoch":7,"seq":9,"new":[null]}`), []byte(`{"v":1,"epoch":7,"seq":10,broken}`),
	}}
	payload, err := b.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeBatch(payload)
	if err != nil || !cmp.Equal(got.Entries, b.Entries) || got.Count != 2 {
		t.Errorf("got %+v, %v", got, err)
	}
}

// TestBatchEncodeRefuses: what its reader would refuse.
func TestBatchEncodeRefuses(t *testing.T) {
	from := ledger.Position{Epoch: 1, Seq: 1}
	large := run(from, 64)
	large.Checkpoint = &ledger.Signed{Checkpoint: fmt.Appendf(nil, `{"x":%q}`, strings.Repeat("x", MaxBatchHeader)), Signature: make([]byte, 64)}
	short := run(from, 64)
	short.Checkpoint = &ledger.Signed{Checkpoint: []byte("{}"), Signature: make([]byte, 63)}
	lines := run(from, 64)
	lines.Entries[0] = bytes.Replace(lines.Entries[0], []byte("xx"), []byte("}\n"), 1)
	open := run(from, 64)
	open.Entries[0] = open.Entries[0][:60]
	other := run(from, 64, 64)
	other.Entries[1] = entry(from, 64)
	for name, test := range map[string]struct {
		b    Batch
		want error
	}{
		"no version":            {Batch{SID: "s", From: from, Entries: run(from, 64).Entries}, ErrVersion},
		"no sid":                {Batch{V: 1, From: from, Entries: run(from, 64).Entries}, ErrMalformed},
		"line feed in an entry": {lines, ErrMalformed},
		"entry not closed":      {open, ErrMalformed},
		"another position":      {other, ErrMalformed},
		"large header":          {large, ErrTooLarge},
		"short signature":       {short, ErrMalformed},
	} {
		if payload, err := test.b.Encode(); !errors.Is(err, test.want) || payload != nil {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
}

// TestCheckpointBytesAreKept: an encoder that changes one byte of a checkpoint
// breaks its signature, so Encode refuses what it would change.
func TestCheckpointBytesAreKept(t *testing.T) {
	b := exampleBatch(t)
	for checkpoint, want := range map[string]error{
		`{"device": "d"}`:                      ErrMalformed, // white space would be lost
		`{"device":null}`:                      ErrMalformed, // no reader takes it
		`{"device":"d"`:                        ErrMalformed,
		`"d"`:                                  ErrMalformed,
		`{"device":"<&>\u003c","more":[1.50]}`: nil,
	} {
		b.Checkpoint = &ledger.Signed{Checkpoint: []byte(checkpoint), Signature: make([]byte, 64)}
		payload, err := b.Encode()
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", checkpoint, err, want)
		}
		if want != nil {
			continue
		}
		if got, err := DecodeBatch(payload); err != nil || string(got.Checkpoint.Checkpoint) != checkpoint {
			t.Errorf("%s: got %s, %v", checkpoint, got.Checkpoint.Checkpoint, err)
		}
	}
	// The reader takes white space: it keeps the bytes as they came.
	text := replaceCheckpoint(t, exampleBatch(t), `{ "device":"d" }`)
	got, err := DecodeBatch([]byte(text))
	if err != nil || string(got.Checkpoint.Checkpoint) != `{ "device":"d" }` {
		t.Errorf("got %s, %v", got.Checkpoint.Checkpoint, err)
	}
}

func BenchmarkBatch(b *testing.B) {
	batch := Batch{V: 1, SID: "s", From: ledger.Position{Epoch: 1, Seq: 1}}
	golden := entries(b)
	for i := range 50 {
		prefix := fmt.Appendf(nil, `{"v":1,"epoch":1,"seq":%d,`, i+1)
		_, rest, _ := bytes.Cut(golden[i%3], []byte(`"prev"`))
		batch.Entries = append(batch.Entries, append(append(prefix, `"prev"`...), rest...))
	}
	payload, err := batch.Encode()
	if err != nil {
		b.Fatal(err)
	}
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := batch.Encode(); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(50*b.N)/b.Elapsed().Seconds(), "entries/s")
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := DecodeBatch(payload); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(50*b.N)/b.Elapsed().Seconds(), "entries/s")
	})
}
