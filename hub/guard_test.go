package hub

import (
	"bytes"
	"crypto/sha256"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/ledger"
)

// stream is a connection from which bytes come in pieces.
type stream struct {
	net.Conn
	r     io.Reader
	piece int
}

func (s *stream) Read(p []byte) (int, error) { return s.r.Read(p[:min(len(p), s.piece)]) }

// frame is an MQTT packet with a body of n bytes, whose length is written with at
// least the given number of bytes.
func frame(n, width int) []byte {
	b := []byte{0x30}
	for i := 0; ; i++ {
		digit := byte(n >> (7 * i) & 0x7f)
		if n>>(7*(i+1)) == 0 && i+1 >= width {
			return append(append(b, digit), make([]byte, n)...)
		}
		b = append(b, digit|0x80)
	}
}

// A broker cannot make the hub take a packet that is larger than the protocol
// has, however it is cut up.
func TestGuardBoundsPackets(t *testing.T) {
	small := bytes.Repeat(frame(10, 1), 100)
	for name, test := range map[string]struct {
		bytes []byte
		says  string
	}{
		"small ones":         {small, ""},
		"the largest":        {append(frame(maxRead, 1), small...), ""},
		"empty ones":         {bytes.Repeat([]byte{0xd0, 0}, 50), ""},
		"one byte too large": {append(append([]byte{}, small...), frame(maxRead+1, 1)[:100]...), "are read"},
		"256 MiB":            {[]byte{0x30, 0xff, 0xff, 0xff, 0x7f}, "are read"},
		"a SUBACK":           {[]byte{0x90, 3, 0, 1, 1}, ""},
		"a SUBACK of two":    {append(append([]byte{}, small...), 0x90, 4, 0, 1, 1, 1), "SUBACK"},
		"a length of five":   {[]byte{0x30, 0x80, 0x80, 0x80, 0x80, 0x01}, "without a length"},
	} {
		for _, piece := range []int{1, 7, 1 << 20} {
			g := newGuard(&stream{r: bytes.NewReader(test.bytes), piece: piece})
			got, err := io.ReadAll(g)
			switch {
			case test.says == "" && (err != nil || !bytes.Equal(got, test.bytes)):
				t.Errorf("%s in pieces of %d: %d of %d bytes, %v", name, piece, len(got), len(test.bytes), err)
			case test.says != "" && (err == nil || !strings.Contains(err.Error(), test.says)):
				t.Errorf("%s in pieces of %d: %v, want %q", name, piece, err, test.says)
			}
		}
	}
}

// A broker that does not read cannot hold the hub for longer than a write may
// take.
func TestGuardBoundsWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		defer there.Close()
		g := newGuard(here)
		began := time.Now()
		if _, err := g.Write([]byte("x")); err == nil {
			t.Error("nobody reads, and it is written")
		}
		if took := time.Since(began); took != writeTimeout {
			t.Errorf("it took %v, want %v", took, writeTimeout)
		}
		if _, err := g.Write([]byte("x")); err == nil || time.Since(began) != writeTimeout {
			t.Errorf("after half a packet the connection goes on: %v", err)
		}
	})
}

// Whatever a device or a broker sends, reading it ends in a fault, or in a batch
// that hangs together byte for byte.
func FuzzRead(f *testing.F) {
	entry := []byte(`{"v":1,"epoch":1,"seq":1,"prev":"` + strings.Repeat("0", 64) + `","at":{"wall":"2026-01-02T03:04:05.000Z","boot":"b","up_ms":5,"quality":"synced"},"op":"op/1","kind":"charge.paid","actor":"t","evidence":{},"postings":[],"data":{}}`)
	seed := wire.Batch{V: 1, SID: "s", From: ledger.Position{Epoch: 1, Seq: 1}, Entries: [][]byte{entry}}
	payload, err := seed.Encode()
	if err != nil {
		f.Fatal(err)
	}
	for i := range wire.Channels(true) {
		f.Add(uint8(i), payload)
		f.Add(uint8(i), []byte(`{"v":1,"sid":"s"}`))
	}
	f.Add(uint8(0), []byte("\x01\x00"))
	channels := wire.Channels(true)
	f.Fuzz(func(t *testing.T, channel uint8, payload []byte) {
		p := packet{device: Device{Name: "kiosk-1", Key: make([]byte, 32)}, channel: channels[int(channel)%len(channels)], payload: bytes.Clone(payload)}
		p.read()
		if (p.fault == "") != (p.detail == "") {
			t.Errorf("fault %q, detail %q", p.fault, p.detail)
		}
		if p.batch == nil {
			return
		}
		prev := p.batch.Prev
		for i, e := range p.batch.entries {
			if e.Position != p.batch.At(i) || e.Hash != sha256.Sum256(e.Bytes) || !bytes.Contains(payload, e.Bytes) && payload[0] == '{' {
				t.Errorf("entry %d is not what was sent", i)
			}
			if said, ok := prevOf(e.Bytes, e.Position); ok && said != prev {
				t.Errorf("entry %d does not follow the one before", i)
			}
			if e.poison == "" && e.Op == "" {
				t.Errorf("entry %d has no operation, and is not poison", i)
			}
			prev = e.Hash
		}
	})
}
