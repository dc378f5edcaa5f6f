package escpos

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// parse takes a stream apart, one call a byte, and writes the replies down.
func parse(p *Replies, at time.Time, data string) string {
	var out []string
	for i := range len(data) {
		p.Feed(at, []byte(data[i:i+1]), func(r Reply) {
			switch r.Kind {
			case Unexpected, AutoStatus, SymbolSize, Identity:
				out = append(out, fmt.Sprintf("%d:%x", r.Kind, r.Raw))
			case ProcessID:
				out = append(out, fmt.Sprintf("%d:%s", r.Kind, r.ID[:]))
			default:
				out = append(out, fmt.Sprintf("%d:%02x", r.Kind, r.Byte))
			}
		})
	}
	return strings.Join(out, " ")
}

func TestReplies(t *testing.T) {
	for _, c := range []struct{ name, data, want string }{
		{"flow control", "\x11\x13", "1:11 1:13"},
		{"status, all fine", "\x12\x12\x12\x12", "2:12 2:12 2:12 2:12"},
		{"status, paper end", "\x7e", "2:7e"},
		{"barrier", "\x00\x03", "4:00 4:03"},
		{"process id", "\x37\x22ab7_\x00", "5:ab7_"},
		{"cleared", "\x37\x25\x00", "6:00"},
		{"size of a symbol", "\x37\x36256\x1f256\x1f1\x1f0\x00", "7:3235361f3235361f311f30"},
		{"identity", "_TM-T20\x00", "8:544d2d543230"},
		{"automatic status", "\x14\x00\x00\x0f", "3:1400000f"},
		{"flow control within it", "\x14\x00\x13\x00\x0f", "1:13 3:1400000f"},
		{"flow control within a block", "\x37\x22a\x13b7\x11_\x00", "1:13 1:11 5:ab7_"},
		{"broken automatic status", "\x14\x00\x12", "0:1400 2:12"},
		{"unknown block", "\x37\x40x\x00\x12", "0:374078 2:12"},
		{"short process id", "\x37\x22abc\x00", "0:3722616263"},
		{"rubbish", "\xff\x80", "0:ff 0:80"},
		{"all at once", "\x12\x37\x22wxyz\x00\x00", "2:12 5:wxyz 4:00"},
		{"endless block", "\x37" + strings.Repeat("a", 80) + "\x12", "0:37" + strings.Repeat("61", 80) + " 2:12"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var p Replies
			if got := parse(&p, time.Time{}, c.data); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// TestReplyTime: a block that was begun and not ended in half a second is
// dropped, and what follows is read afresh.
func TestReplyTime(t *testing.T) {
	var p Replies
	at := time.Unix(1000, 0)
	got := parse(&p, at, "\x37\x22ab") + "|" + parse(&p, at.Add(500*time.Millisecond), "c") +
		"|" + parse(&p, at.Add(501*time.Millisecond), "\x12")
	if want := "||0:3722616263 2:12"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestReplyTimeAfterStatus: the time of a block counts from its own first byte,
// not from that of a broken status before it.
func TestReplyTimeAfterStatus(t *testing.T) {
	var p Replies
	at := time.Unix(1000, 0)
	got := parse(&p, at, "\x14") + "|" + parse(&p, at.Add(400*time.Millisecond), "\x37\x22ab") +
		"|" + parse(&p, at.Add(800*time.Millisecond), "cd\x00")
	if want := "|0:14|5:abcd"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// FuzzReplies: whatever a printer says, no byte gets lost or comes twice, no
// block grows without bound, and once the line is quiet for long enough a
// status answer is read as one. How bytes were grouped makes no difference.
func FuzzReplies(f *testing.F) {
	for _, s := range []string{
		"\x12\x12\x12\x12", "\x37\x22abcd\x00", "\x10\x00\x00\x0f", "\x37", "_TM-T20\x00\x11", "\x37\x36256\x1f256\x1f1\x1f0\x00", "\x10\x11\x37\xff",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var one, all Replies
		at := time.Unix(1000, 0)
		single := parse(&one, at, string(data))
		var n int
		var grouped []string
		all.Feed(at, data, func(r Reply) {
			switch r.Kind {
			case Unexpected, AutoStatus:
				n += len(r.Raw)
				grouped = append(grouped, fmt.Sprintf("%d:%x", r.Kind, r.Raw))
			case SymbolSize:
				n += len(r.Raw) + 2
				grouped = append(grouped, fmt.Sprintf("%d:%x", r.Kind, r.Raw))
			case Identity:
				n += len(r.Raw) + 1
				grouped = append(grouped, fmt.Sprintf("%d:%x", r.Kind, r.Raw))
			case ProcessID:
				n += 6
				grouped = append(grouped, fmt.Sprintf("%d:%s", r.Kind, r.ID[:]))
			case Cleared:
				n += 2
				grouped = append(grouped, fmt.Sprintf("%d:%02x", r.Kind, r.Byte))
			default:
				n++
				grouped = append(grouped, fmt.Sprintf("%d:%02x", r.Kind, r.Byte))
			}
			if len(r.Raw) > maxBlock+1 {
				t.Fatalf("a block of %d bytes", len(r.Raw))
			}
		})
		if g := strings.Join(grouped, " "); g != single {
			t.Fatalf("grouped %s\nsingle  %s", g, single)
		}
		// all that is left out are the 00 that end blocks
		if rest := len(data) - n - len(all.block); rest < 0 || rest > strings.Count(string(data), "\x00") {
			t.Fatalf("%d of %d bytes accounted for", n+len(all.block), len(data))
		}
		if got := parse(&all, at.Add(time.Minute), "\x12"); !strings.HasSuffix(got, "2:12") {
			t.Fatalf("then a status is read as %s", got)
		}
	})
}
