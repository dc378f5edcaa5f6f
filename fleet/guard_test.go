package fleet

import (
	"bytes"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// pipe returns a guard and the broker's end.
func pipe(t *testing.T) (*guard, net.Conn) {
	t.Helper()
	here, there := net.Pipe()
	g := newGuard(here, here)
	t.Cleanup(func() {
		g.end(errStopped)
		there.Close()
	})
	return g, there
}

var connack = []byte{0x20, 2, 0, 0}

// TestGuardRefuses: what a broker may not send to this client does not reach
// it, and ends the connection.
func TestGuardRefuses(t *testing.T) {
	large := append([]byte{0x30, 0x80, 0x80, 0x08}, make([]byte, 1000)...)
	for name, test := range map[string]struct {
		bytes []byte
		why   string
	}{
		"PUBLISH before CONNACK":       {[]byte{0x30, 3, 0, 1, 'a'}, "comes first"},
		"CONNACK twice":                {append(connack, connack...), "comes first"},
		"CONNACK with another code":    {[]byte{0x20, 2, 0, 0x42}, "not a CONNACK"},
		"CONNACK too long":             {[]byte{0x20, 3, 0, 0, 0}, "not a CONNACK"},
		"CONNACK with flags":           {[]byte{0x21, 2, 0, 0}, "flags"},
		"SUBACK with two results":      {append(connack, 0x90, 4, 0, 1, 0, 0), "length"},
		"SUBACK without result":        {append(connack, 0x90, 2, 0, 1), "length"},
		"PUBACK too short":             {append(connack, 0x40, 1, 0), "length"},
		"PINGRESP with a body":         {append(connack, 0xd0, 1, 0), "length"},
		"PUBLISH with QoS 1":           {append(connack, 0x32, 5, 0, 1, 'a', 0, 1), "QoS"},
		"PUBLISH with QoS 2":           {append(connack, 0x34, 5, 0, 1, 'a', 0, 1), "QoS"},
		"PUBLISH without topic":        {append(connack, 0x30, 1, 0), "no topic"},
		"PUBLISH with an empty topic":  {append(connack, 0x30, 2, 0, 0), "topic of another length"},
		"PUBLISH with a longer topic":  {append(connack, 0x30, 3, 0, 9, 'a'), "topic of another length"},
		"PUBREC":                       {append(connack, 0x50, 2, 0, 1), "not for a client"},
		"PUBREL":                       {append(connack, 0x62, 2, 0, 1), "flags"},
		"UNSUBACK":                     {append(connack, 0xb0, 2, 0, 1), "not for a client"},
		"CONNECT":                      {append(connack, 0x10, 0), "not for a client"},
		"DISCONNECT":                   {append(connack, 0xe0, 0), "not for a client"},
		"type 0":                       {append(connack, 0x00, 0), "not for a client"},
		"type 15":                      {append(connack, 0xf0, 0), "not for a client"},
		"256 MiB":                      {append(connack, 0x30, 0xff, 0xff, 0xff, 0x7f), "268435455 bytes"},
		"128 KiB":                      {append(connack, large...), "131072 bytes"},
		"length of five bytes":         {append(connack, 0x30, 0xff, 0xff, 0xff, 0xff, 0x01), "more than four bytes"},
		"end within a packet":          {append(connack, 0x30, 5, 0), "unexpected EOF"},
		"end within a length":          {append(connack, 0x30), "unexpected EOF"},
		"end between packets":          {connack, "the broker ended the connection"},
		"end before anything was sent": {nil, "the broker ended the connection"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, there := pipe(t)
				go func() {
					_, _ = there.Write(test.bytes) // the guard may end it before all is read
					there.Close()
				}()
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				got, err := io.ReadAll(g)
				runtime.ReadMemStats(&after)
				if !errors.Is(err, errEnded) || errors.Is(err, net.ErrClosed) {
					t.Errorf("the client reads %v, want %v", err, errEnded)
				}
				if why := g.why(); why == nil || !strings.Contains(why.Error(), test.why) {
					t.Errorf("ended by %v, want %q in it", why, test.why)
				}
				if !bytes.HasPrefix(connack, got) {
					t.Errorf("the client was given % x", got)
				}
				if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
					t.Errorf("%d bytes were allocated", n)
				}
			})
		})
	}
}

// TestGuardPasses: what a broker may send comes through byte for byte, however
// it is cut, one message at a time.
func TestGuardPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		publish := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
		publish.TopicName, publish.Payload = "a/b", bytes.Repeat([]byte("x"), 60<<10)
		var want bytes.Buffer
		want.Write(connack)
		want.Write([]byte{0x90, 3, 0, 1, 0x80, 0x40, 2, 0, 7, 0xd0, 0})
		for range 3 {
			if err := publish.Write(&want); err != nil {
				t.Fatal(err)
			}
		}
		g, there := pipe(t)
		go func() {
			defer there.Close()
			rest := bytes.Clone(want.Bytes())
			for n := 1; len(rest) > 0; n = 3*n%4001 + 1 {
				n = min(n, len(rest))
				if _, err := there.Write(rest[:n]); err != nil {
					t.Error(err)
					return
				}
				rest = rest[n:]
			}
		}()
		var got []byte
		buf := make([]byte, 1000)
		for published := 0; ; {
			n, err := g.Read(buf)
			got = append(got, buf[:n]...)
			if errors.Is(err, errEnded) {
				break
			}
			if all := (len(got) - 15) / (60 << 10); all > published {
				// The next message waits until the handler has seen this one.
				published++
				done := make(chan struct{})
				go func() {
					defer close(done)
					n, _ := g.Read(buf)
					got = append(got, buf[:n]...)
				}()
				synctest.Wait()
				if published < 3 {
					select {
					case <-done:
						t.Errorf("message %d came before the handler had seen the one before", published)
					default:
					}
				}
				g.arrive()
				<-done
			}
		}
		if !bytes.Equal(got, want.Bytes()) {
			t.Errorf("got %d bytes, want the %d that were sent", len(got), want.Len())
		}
	})
}

// TestGuardWrites: a write that nobody takes ends with the deadline, the
// connection with it, and all that waits.
func TestGuardWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, there := pipe(t)
		begin := time.Now()
		done := make(chan error, 3)
		for range 3 {
			go func() {
				// The client takes deadlines away, also those of others.
				_ = g.SetWriteDeadline(time.Time{})
				_, err := g.Write([]byte{0x30, 3, 0, 1, 'a'})
				done <- err
			}()
		}
		for range 3 {
			if err := <-done; !errors.Is(err, errEnded) {
				t.Errorf("got %v, want %v", err, errEnded)
			}
		}
		if took := time.Since(begin); took != writeTimeout {
			t.Errorf("took %v, want %v", took, writeTimeout)
		}
		if g.wrote.Load() != 0 {
			t.Errorf("%d counted as written", g.wrote.Load())
		}
		if _, err := there.Read(make([]byte, 1)); err == nil {
			t.Error("the connection is still open")
		}
	})
}

// FuzzGuard: whatever a broker sends, the client reads a prefix of it that
// consists of whole, harmless packets, and memory stays bounded.
func FuzzGuard(f *testing.F) {
	f.Add(connack)
	f.Add(append(connack, 0x90, 3, 0, 1, 0, 0x30, 4, 0, 1, 'a', 'x', 0xd0, 0))
	f.Add(append(connack, 0x90, 4, 0, 1, 0, 0))
	f.Add(append(connack, 0x30, 0xff, 0xff, 0xff, 0x7f, 0))
	f.Add([]byte{0x20, 2, 0, 5})
	f.Fuzz(func(t *testing.T, in []byte) {
		here, there := net.Pipe()
		g := newGuard(here, here)
		go func() {
			_, _ = there.Write(in)
			there.Close()
		}()
		var got []byte
		buf := make([]byte, 64<<10)
		for {
			n, err := g.Read(buf)
			got = append(got, buf[:n]...)
			if err != nil {
				break
			}
			g.arrive()
		}
		if !bytes.HasPrefix(in, got) {
			t.Fatalf("read % x of % x", got, in)
		}
		for r := bytes.NewReader(got); r.Len() > 0; {
			c, err := packets.ReadPacket(r)
			if err != nil {
				t.Fatalf("the client was given what it cannot read: %v", err)
			}
			if s, ok := c.(*packets.SubackPacket); ok && len(s.ReturnCodes) != 1 {
				t.Fatalf("a SUBACK with %d results", len(s.ReturnCodes))
			}
		}
	})
}
