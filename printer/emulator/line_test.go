package emulator

import (
	"bytes"
	"context"
	"errors"
	"image/png"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	_ "github.com/ssg-safe/agent/internal/bubbles"
)

const askID = "\x1d(H\x06\x0000" // and four bytes

// say sends bytes and returns what is answered at once.
func say(t testing.TB, c *Conn, b string) string {
	t.Helper()
	if n, err := c.Write([]byte(b)); n != len(b) || err != nil {
		t.Fatalf("wrote %d of %d bytes: %v", n, len(b), err)
	}
	return heard(t, c)
}

func heard(t testing.TB, c *Conn) string {
	t.Helper()
	c.p.mu.Lock()
	defer c.p.mu.Unlock()
	out := string(c.out)
	c.out = nil
	return out
}

// TestStatus holds the real-time answers to the bit table of the manuals.
func TestStatus(t *testing.T) {
	const ask = "\x10\x04\x01\x10\x04\x02\x10\x04\x03\x10\x04\x04"
	for _, c := range []struct {
		name string
		do   func(p *Printer)
		want string
	}{
		{"fine", func(*Printer) {}, "\x12\x12\x12\x12"},
		{"near end", func(p *Printer) { p.SetNearEnd(true) }, "\x12\x12\x12\x1e"},
		{"paper end", func(p *Printer) { p.EndPaperAfter(0) }, "\x1a\x32\x12\x7e"},
		{"cover open", func(p *Printer) { p.SetCover(true) }, "\x1a\x16\x12\x12"},
		{"knife stuck", func(p *Printer) { p.SetCutterError(true) }, "\x1a\x52\x1a\x12"},
		{"off", func(p *Printer) { p.PowerOff() }, ""},
		{"off and on", func(p *Printer) { p.PowerOff(); p.PowerOn() }, "\x12\x12\x12\x12"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := New(Config{})
			c.do(p)
			if got := say(t, p.Connect(), ask); got != c.want {
				t.Errorf("got % x, want % x", got, c.want)
			}
		})
	}
}

func TestAnswers(t *testing.T) {
	for _, c := range []struct{ name, ask, want string }{
		{"maker", "\x1dIB", "_SSG\x00"},
		{"model id", "\x1dI\x01", "\x20"},
		{"paper sensor", "\x1dr\x01", "\x00"},
		{"process id", askID + "w~ 9", "\x37\x22w~ 9\x00"},
		{"size of a symbol", "\x1d(k\x04\x001P0a\x1d(k\x03\x001C\x04\x1d(k\x03\x001R0", "\x37\x3684\x1f84\x1f1\x1f0\x00"},
		{"symbol that is too large", "\x1d(k\x04\x001P0a\x1d(k\x03\x001C\x10\x1dW\x40\x00\x1d(k\x03\x001R0", "\x37\x36336\x1f336\x1f1\x1f1\x00"},
		{"clear", "\x10\x14\x08\x01\x03\x14\x01\x06\x02\x08", "\x37\x25\x00"},
		{"status in the middle of a command", "\x1dI\x10\x04\x01B", "\x12_SSG\x00"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := say(t, New(Config{ProcessID: true}).Connect(), c.ask); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	if got := say(t, New(Config{}).Connect(), askID+"abcd"); got != "" {
		t.Errorf("a printer without process ids says %q", got)
	}
}

// TestPaperEnd: the printer stops at the row where the paper ends, keeps what
// it has, answers in real time only, and after the reload the slip is dot by
// dot what it would have been.
func TestPaperEnd(t *testing.T) {
	job := "\x1d!\x11first\n\x1d!\x00second\n\x1d(k\x0d\x001P0" + "0123456789" + "\x1d(k\x03\x001Q0third\n" + cutFeed + askID + "abcd"
	whole := New(Config{ProcessID: true})
	say(t, whole.Connect(), job)
	want := whole.Slips()[0]
	for rows := 0; rows < len(want.bits)/72; rows += 29 {
		p := New(Config{ProcessID: true})
		c := p.Connect()
		p.EndPaperAfter(rows)
		if got := say(t, c, job); got != "" || len(p.Slips()) > 0 {
			t.Fatalf("%d rows: answered %q without paper, %d slips", rows, got, len(p.Slips()))
		}
		if got := say(t, c, "\x10\x04\x04"); got != "\x7e" {
			t.Fatalf("%d rows: status % x", rows, got)
		}
		p.LoadPaper()
		if got := heard(t, c); got != "\x37\x22abcd\x00" {
			t.Fatalf("%d rows: answered %q after the reload", rows, got)
		}
		got := p.Slips()[0]
		if !bytes.Equal(got.bits, want.bits) || got.Text() != want.Text() || !bytes.Equal(got.Bytes, want.Bytes) {
			t.Fatalf("%d rows: the slip differs", rows)
		}
	}
}

// TestPower: the buffer goes with the power, the paper stays.
func TestPower(t *testing.T) {
	p := New(Config{ProcessID: true})
	c := p.Connect()
	say(t, c, "one\n")
	p.SetCover(true)
	say(t, c, "two\n"+cutFeed+askID+"abcd")
	p.PowerOff()
	say(t, c, "three\n")
	p.SetCover(false)
	p.PowerOn()
	if got := say(t, c, "four\n"+cutFeed+askID+"efgh"); got != "\x37\x22efgh\x00" {
		t.Errorf("answered %q", got)
	}
	if got := p.Slips()[0].Text(); got != "one\nfour\n" {
		t.Errorf("the slip says %q", got)
	}
}

// TestClear drops what is not printed yet.
func TestClear(t *testing.T) {
	p := New(Config{})
	c := p.Connect()
	p.SetCover(true)
	if got := say(t, c, "one\n\x10\x14\x08\x01\x03\x14\x01\x06\x02\x08"); got != "\x37\x25\x00" {
		t.Errorf("answered %q", got)
	}
	p.SetCover(false)
	say(t, c, "two\n"+cutFeed)
	if got := p.Slips()[0].Text(); got != "two\n" {
		t.Errorf("the slip says %q", got)
	}
}

// TestSpeed: rows take their time, and answers wait for them.
func TestSpeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Config{ProcessID: true, Speed: 10})
		c := p.Connect()
		start := time.Now()
		if _, err := c.Write([]byte("a\n" + cutFeed + askID + "abcd")); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d > 0 {
			t.Errorf("the line was held up for %v", d)
		}
		got := make([]byte, 7)
		if _, err := io.ReadFull(c, got); err != nil {
			t.Fatal(err)
		}
		// 30 rows and 96 to the knife are 15.75 mm
		if d := time.Since(start) - 1575*time.Millisecond - cutTime; d < 0 || d > 10*time.Millisecond {
			t.Errorf("answered after %v", time.Since(start))
		}
	})
}

// TestBuffer: when it is full, bytes are lost or the line is held up.
func TestBuffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		long := strings.Repeat("x", 99) + "\n"
		p := New(Config{BufferSize: 64})
		p.SetCover(true)
		say(t, p.Connect(), long)
		if got := p.Lost(); got != 100-64 {
			t.Errorf("%d bytes lost, want 36", got)
		}

		p = New(Config{BufferSize: 64, Flow: true})
		p.SetCover(true)
		c := p.Connect()
		c.SetWriteDeadline(time.Now().Add(time.Second))
		n, err := c.Write([]byte(long))
		if n != 64 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("wrote %d bytes, %v", n, err)
		}
		c.SetWriteDeadline(time.Now().Add(time.Minute))
		time.AfterFunc(30*time.Second, func() { p.SetCover(false) })
		if n, err := c.Write([]byte(long[n:] + cutFeed)); n != 40 || err != nil {
			t.Errorf("wrote %d bytes, %v", n, err)
		}
		if got := p.Slips()[0].Text(); strings.Count(got, "x") != 99 || p.Lost() != 0 {
			t.Errorf("%q, %d lost", got, p.Lost())
		}
	})
}

// TestConn: deadlines, ends, and one line at a time.
func TestConn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(Config{})
		first := p.Connect()
		first.SetReadDeadline(time.Now().Add(time.Second))
		start := time.Now()
		if _, err := first.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		first.SetReadDeadline(time.Time{})
		ended := make(chan error)
		go func() { _, err := first.Read(make([]byte, 1)); ended <- err }()
		synctest.Wait()
		second := p.Connect()
		if err := <-ended; err != io.EOF {
			t.Errorf("the first line ended with %v", err)
		}
		if _, err := first.Write([]byte("x")); err != syscall.EIO {
			t.Errorf("writing to it: %v", err)
		}
		go func() { _, err := second.Read(make([]byte, 1)); ended <- err }()
		synctest.Wait()
		second.Close()
		if err := <-ended; err != os.ErrClosed {
			t.Errorf("the second line ended with %v", err)
		}
		if _, err := second.Write([]byte("x")); err != os.ErrClosed {
			t.Errorf("writing to it: %v", err)
		}

		p.Stall(true)
		third := p.Connect()
		go func() { _, err := third.Write([]byte("x")); ended <- err }()
		synctest.Wait()
		third.SetWriteDeadline(time.Now())
		if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a stalled write: %v", err)
		}
		p.Stall(false)
		third.SetWriteDeadline(time.Time{})
		p.HangUpAfter(3)
		if n, err := third.Write([]byte("\x10\x04\x01abc")); n != 3 || err != syscall.EIO {
			t.Errorf("%d bytes, %v", n, err)
		}
		if n, err := third.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("an answer to a dead line: %d bytes, %v", n, err)
		}
	})
}

// TestServe connects the printer to a connection and ends it from all sides.
func TestServe(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(p *Printer, near net.Conn, cancel context.CancelFunc)
		want error
	}{
		{"the host closes", func(_ *Printer, near net.Conn, _ context.CancelFunc) { near.Close() }, nil},
		{"the printer hangs up", func(p *Printer, _ net.Conn, _ context.CancelFunc) { p.HangUp() }, nil},
		{"the context ends", func(_ *Printer, _ net.Conn, cancel context.CancelFunc) { cancel() }, context.Canceled},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				p := New(Config{ProcessID: true})
				near, far := net.Pipe()
				done := make(chan error)
				go func() { done <- p.Serve(ctx, far) }()
				if _, err := near.Write([]byte("a\n" + cutFeed + askID + "abcd")); err != nil {
					t.Fatal(err)
				}
				got := make([]byte, 7)
				if _, err := io.ReadFull(near, got); err != nil || string(got) != "\x37\x22abcd\x00" {
					t.Fatalf("%q, %v", got, err)
				}
				c.end(p, near, cancel)
				if err := <-done; err != c.want {
					t.Errorf("got %v, want %v", err, c.want)
				}
				if _, err := near.Read(got); err == nil {
					t.Error("the line is still open")
				}
			})
		})
	}
}

// TestTray: slips outlive the process that printed them.
func TestTray(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "paper")
	p := New(Config{ProcessID: true, Dir: dir, Keep: 1})
	c := p.Connect()
	for _, id := range []string{"aaaa", "bbbb", "cccc"} {
		say(t, c, "slip "+id+"\n"+cutFeed+askID+id)
	}
	say(t, c, "not confirmed\n"+cutFeed)

	again := New(Config{ProcessID: true, Dir: dir})
	for i, id := range []string{"aaaa", "bbbb", "cccc"} {
		s, ok, err := again.Find([4]byte([]byte(id)))
		if err != nil || !ok {
			t.Fatalf("%s: %v, %v", id, ok, err)
		}
		if s.Number != i+1 || s.Text() != "slip "+id+"\n" || string(s.Bytes) != "slip "+id+"\n"+cutFeed+askID+id ||
			!slices.Equal(s.ProcessIDs, [][4]byte{[4]byte([]byte(id))}) {
			t.Errorf("%s: %+v", id, s)
		}
		onDisk, err := os.ReadFile(s.BytesFile)
		if err != nil || !bytes.Equal(onDisk, s.Bytes) {
			t.Errorf("%s: %q, %v", s.BytesFile, onDisk, err)
		}
		var copied bytes.Buffer
		if err := s.PNG(&copied); err != nil {
			t.Fatal(err)
		}
		img, err := png.Decode(&copied)
		if err != nil {
			t.Fatal(err)
		}
		fresh := Render(s.Bytes, 576)[0].Image()
		if img.Bounds() != fresh.Bounds() {
			t.Errorf("%s: picture of %v, printed again %v", id, img.Bounds(), fresh.Bounds())
		}
	}
	if _, ok, err := again.Find([4]byte([]byte("zzzz"))); ok || err != nil {
		t.Errorf("found what was never printed: %v, %v", ok, err)
	}
	say(t, again.Connect(), "after\n"+cutFeed)
	if got := again.Slips()[0].Number; got != 5 {
		t.Errorf("the next slip is number %d, want 5", got)
	}
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range names {
		names[i] = filepath.Base(n)
	}
	var want []string
	for _, n := range []string{"1", "2", "3", "4", "5"} {
		want = append(want, "slip-00000"+n+".bin", "slip-00000"+n+".json", "slip-00000"+n+".png")
	}
	if d := cmp.Diff(want, names); d != "" {
		t.Errorf("files (-want +got):\n%s", d)
	}
}

// TestTrayFails: a printer that cannot keep a slip says nothing of it.
func TestTrayFails(t *testing.T) {
	blocked := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p := New(Config{ProcessID: true, Dir: filepath.Join(blocked, "paper")})
	c := p.Connect()
	if got := say(t, c, "a\n"+cutFeed+askID+"abcd"); got != "" {
		t.Errorf("answered %q", got)
	}
	if got := say(t, c, "\x10\x04\x01\x10\x04\x03"); got != "\x1a\x32" {
		t.Errorf("status % x", got)
	}
}

// TestConfirmsItsSlip: an id belongs to the slip before it, or to the one it
// stands in, and to none when only blank paper fell.
func TestConfirmsItsSlip(t *testing.T) {
	p := New(Config{ProcessID: true})
	c := p.Connect()
	say(t, c, askID+"none")
	say(t, c, "one\n"+askID+"in 1"+cutFeed+askID+"of 1")
	say(t, c, cutFeed+askID+"void")
	say(t, c, "two\n"+cutFeed+askID+"of 2")
	var got [][]string
	for _, s := range p.Slips() {
		var ids []string
		for _, id := range s.ProcessIDs {
			ids = append(ids, string(id[:]))
		}
		got = append(got, ids)
	}
	if d := cmp.Diff([][]string{{"in 1", "of 1"}, {"of 2"}}, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
