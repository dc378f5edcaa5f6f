package localapi_test

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/store"
)

// stream is an open event stream.
type stream struct {
	*testing.T
	in    *bufio.Reader
	close func()
}

// event is one of a stream.
type event struct{ id, kind, data string }

// watch opens a stream and takes its first event, ready.
func (r *rig) watch(token, query, last string) *stream {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), time.Minute)
	req, err := http.NewRequestWithContext(ctx, "GET", "http://"+r.addr+"/v1/events"+query, nil)
	if err != nil {
		r.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		r.Fatal(err)
	}
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
		r.Fatalf("stream: %s", resp.Status)
	}
	s := &stream{r.T, bufio.NewReader(resp.Body), func() {
		cancel()
		resp.Body.Close()
	}}
	r.Cleanup(s.close)
	if e := s.next(); e.kind != "ready" || e.id == "" {
		r.Fatalf("the first event is %+v", e)
	}
	return s
}

// next reads the next event, pings aside.
func (s *stream) next() event {
	s.Helper()
	var e event
	for {
		line, err := s.in.ReadString('\n')
		if err != nil {
			s.Fatalf("stream: %v", err)
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch name {
		case "id":
			e.id = value
		case "event":
			e.kind = value
		case "data":
			e.data = value
		case "":
			if e != (event{}) {
				return e
			}
		}
	}
}

// put records entries of a kind about a charge.
func (r *rig) put(n int, subject string) {
	r.Helper()
	for range n {
		seq := r.head().Seq + 1
		if err := r.desk.record(r.Context(), ledger.Draft{
			Op: fmt.Sprintf("test/%d", seq), Kind: "test.entry", Data: map[string]string{"charge": subject},
		}); err != nil {
			r.Fatal(err)
		}
	}
}

const (
	one = "T001AAAAAAAAAAAAAAAAAAAAA"
	two = "T001BBBBBBBBBBBBBBBBBBBBB"
)

func TestEvents(t *testing.T) {
	r := newRig(t)
	r.put(3, one)
	live := r.watch(tokenRead, "", "")
	r.put(1, one)
	r.server.Wake()
	if e := live.next(); e.id != "1:4" || e.kind != "test.entry" {
		t.Errorf("live: %+v, want entry 1:4", e)
	}
	r.put(1, two) // nobody tells of it
	if e := live.next(); e.id != "1:5" {
		t.Errorf("live: %+v, want entry 1:5", e)
	}
	// Resumed, by header and by address: without a gap, exactly as stored.
	for _, s := range []*stream{r.watch(tokenRead, "", "1:2"), r.watch(tokenRead, "?after=1:2", ""), r.watch(tokenRead, "?after=1:0", "1:2")} {
		for seq := uint64(3); seq <= 5; seq++ {
			e := s.next()
			entry, err := ledger.Decode([]byte(e.data))
			if err != nil || entry.Seq != seq || e.id != fmt.Sprintf("1:%d", seq) {
				t.Errorf("resumed: %+v (%v), want entry %d", e, err, seq)
			}
		}
	}
	some := r.watch(tokenRead, "?after=1:0&charge="+two, "")
	if e := some.next(); e.id != "1:5" {
		t.Errorf("of one charge: %+v, want entry 1:5", e)
	}
	// More entries than are read at once.
	r.put(200, one)
	all := r.watch(tokenRead, "?after=1:0", "")
	for seq := 1; seq <= 205; seq++ {
		if e := all.next(); e.id != fmt.Sprintf("1:%d", seq) {
			t.Fatalf("of many: %+v, want entry %d", e, seq)
		}
	}
}

// TestEventsGone: whoever saw what is not here, or lies behind what is, is told
// so and gets what to go on from.
func TestEventsGone(t *testing.T) {
	r := newRig(t)
	r.put(12, one)
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	head := r.head()
	r.put(1, one)
	if err := r.store.Commit(t.Context(), store.Op{Do: func(tx *bbolt.Tx) error {
		signed, err := ledger.Sign(key, ledger.Checkpoint{Device: "d", Head: head, Boot: "b", Wall: time.Now()})
		if err != nil {
			return err
		}
		if err := errors.Join(ledger.Acknowledge(tx, "hub", head), ledger.PutCheckpoint(tx, signed, pub)); err != nil {
			return err
		}
		n, err := ledger.Prune(tx, ledger.Retention{Consumers: []string{"hub"}, Key: pub, Entries: 1})
		if n == 0 {
			t.Error("nothing was pruned")
		}
		return err
	}}); err != nil {
		t.Fatal(err)
	}
	made := r.ask(tokenAll, "POST", "/v1/charges", order) // entries 14 and 15
	for _, id := range []string{"1:1", "1:11", "1:0", "0:0", "1:16", "2:1", "7:1"} {
		a := r.ask(tokenRead, "GET", "/v1/events", "", "Last-Event-ID", id)
		var p struct {
			Code     string
			Snapshot struct {
				Position string
				Open     []struct{ ID string }
			}
		}
		if err := json.Unmarshal([]byte(a.body), &p); err != nil || a.status != 410 || p.Code != "events_gone" || p.Snapshot.Position != "1:15" ||
			len(p.Snapshot.Open) != 1 || !strings.HasSuffix(made.header.Get("Location"), p.Snapshot.Open[0].ID) {
			t.Errorf("%s: %d %s (%v)", id, a.status, a.body, err)
		}
	}
	for _, id := range []string{"1:12", "1:13", "1:15"} { // the anchor, the oldest, the head
		r.watch(tokenRead, "", id).close()
	}
	for _, id := range []string{"1", "1:", "x:1", "-1:2", "1:2:3", "1:99999999999999999999"} {
		if a := r.ask(tokenRead, "GET", "/v1/events", "", "Last-Event-ID", id); a.status != 400 {
			t.Errorf("%s: %d %s", id, a.status, a.body)
		}
	}
}

// TestStreamsAreBounded: the one too many is refused, and a place is free again
// when a client goes.
func TestStreamsAreBounded(t *testing.T) {
	r := newRig(t)
	var open []*stream
	for range 8 {
		open = append(open, r.watch(tokenRead, "", ""))
	}
	if a := r.ask(tokenRead, "GET", "/v1/events", ""); a.status != 503 {
		t.Fatalf("the ninth stream: %d %s", a.status, a.body)
	}
	open[0].close()
	free := false
	for tries := 0; !free && tries < 600; tries++ { // the server notices in its own time
		<-time.After(100 * time.Millisecond)
		free = r.free()
	}
	if !free {
		t.Error("the place of a client that went is not free again")
	}
}

// free reports whether one more stream can be opened.
func (r *rig) free() bool {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", "http://"+r.addr+"/v1/events", nil)
	if err != nil {
		r.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+tokenRead)
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		r.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode == 200
}
