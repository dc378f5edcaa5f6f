package fleet_test

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/ledger"
)

// hubDouble is a hub in memory that does what docs/mqtt-protocol.md says, for
// one terminal. It holds the terminal to the protocol: what should not come is
// an error of the test.
type hubDouble struct {
	t      testing.TB
	signer *wire.Signer

	mu     sync.Mutex // guards what follows
	silent bool       // says nothing
	away   bool       // hears nothing
	hold   wire.Hold
	frozen bool // takes nothing, and says so to nobody
	// anyStart: a hub that holds nothing takes any entry as its first.
	anyStart bool
	holdAll  [][]byte // the entries it holds
	head     ledger.Head
	ctr      uint64
	jti      int

	record
}

// record is what came.
type record struct {
	batches     []wire.Batch
	hellos      []wire.Hello
	states      []wire.State
	events      []wire.Evt
	results     []wire.Res
	asked       [][]string
	askedAt     []time.Time
	offered     []wire.Propose
	teles       []wire.Tele
	topics      []string
	checkpoints []ledger.Checkpoint
}

// came returns what has come so far.
func (h *hubDouble) came() record {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.record // the slices only grow
}

// kinds are those of the events that came, one that was sent again counted once.
func (r record) kinds() []string {
	var kinds []string
	seen := map[string]bool{}
	for _, e := range r.events {
		if !seen[e.ID] {
			kinds = append(kinds, e.Kind)
		}
		seen[e.ID] = true
	}
	return kinds
}

func newHub(t testing.TB) *hubDouble {
	return &hubDouble{t: t, signer: signer(t, hubKey)}
}

func (h *hubDouble) set(change func(*hubDouble)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change(h)
}

func (h *hubDouble) held() ledger.Head {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.head
}

func (h *hubDouble) jsonl() []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	var b bytes.Buffer
	for _, e := range h.holdAll {
		b.Write(e)
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// restore makes the hub forget all but the first n entries, as from a backup.
func (h *hubDouble) restore(n int) {
	h.set(func(h *hubDouble) {
		h.holdAll = h.holdAll[:n]
		h.head = ledger.Head{}
		if n > 0 {
			e, err := ledger.Decode(h.holdAll[n-1])
			if err != nil {
				h.t.Fatal(err)
			}
			h.head = ledger.Head{Position: e.Position(), Hash: ledger.HashOf(h.holdAll[n-1])}
		}
	})
}

// claims mints the next ones; the caller holds mu.
func (h *hubDouble) claims() wire.Claims {
	h.ctr++
	h.jti++
	now := time.Now().Unix()
	return wire.Claims{Aud: device, JTI: fmt.Sprintf("m-%d", h.jti), Ctr: h.ctr, Iat: now, Exp: now + 3600}
}

func (h *hubDouble) sign(typ string, claims any) []byte {
	token, err := h.signer.Sign(typ, claims)
	if err != nil {
		h.t.Errorf("sign %s: %v", typ, err)
	}
	return []byte(token)
}

// ack is what the hub holds; the caller holds mu.
func (h *hubDouble) ack(want *ledger.Position) []byte {
	return h.sign(wire.TypAck, wire.Ack{Claims: h.claims(), Epoch: h.head.Epoch, Seq: h.head.Seq, Head: h.head.Hash, Want: want, Hold: h.hold})
}

// pay makes a token about a charge.
func (h *hubDouble) pay(charge string, ver uint64) (jti string, token []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.claims()
	return c.JTI, h.sign(wire.TypPay, wire.Pay{
		Claims: c, Charge: charge, Ver: ver, Status: "paid", Cents: 15050, EndToEnd: "E123", Route: "r1",
		Account: "a", ProviderID: "p-1", Attempt: 1, PaidAt: day0, Digest: strings.Repeat("ab", 32),
	})
}

func (h *hubDouble) charge(reference string) (jti string, token []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.claims()
	return c.JTI, h.sign(wire.TypCharge, wire.ChargeRequest{Claims: c, Reference: reference, Merchant: "m1", Amount: 100, Present: true})
}

// publish is what the broker hands over.
func (h *hubDouble) publish(p *peer, m *pub) {
	topic, err := wire.ParseTopic(m.topic)
	if err != nil || !topic.Up || topic.Device != device || topic.Tenant != tenant || topic.Site != site {
		h.t.Errorf("PUBLISH on %q: %v", m.topic, err)
		return
	}
	if m.qos != topic.Channel.QoS() || m.retained != topic.Channel.Retained() {
		h.t.Errorf("%s: QoS %d, retained %v; want %d, %v", topic.Channel, m.qos, m.retained, topic.Channel.QoS(), topic.Channel.Retained())
	}
	if len(m.payload) > wire.MaxPacket {
		h.t.Errorf("%s: %d bytes", topic.Channel, len(m.payload))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.topics = append(h.topics, string(topic.Channel))
	if h.away {
		return
	}
	switch topic.Channel {
	case wire.ChannelState:
		h.states = append(h.states, decode[wire.State](h.t, m.payload))
	case wire.ChannelHello:
		hello := decode[wire.Hello](h.t, m.payload)
		h.hellos = append(h.hellos, hello)
		h.ctr = max(h.ctr, hello.Ctr)
		var want *ledger.Position
		if h.head.Position.Before(hello.Acked.Position) && hello.Acked.Seq != 0 {
			want = &ledger.Position{Epoch: max(h.head.Epoch, 1), Seq: h.head.Seq + 1}
		}
		h.tell(p, h.ack(want))
	case wire.ChannelLedger:
		h.take(p, m.payload)
	case wire.ChannelEvt:
		h.events = append(h.events, decode[wire.Evt](h.t, m.payload))
	case wire.ChannelRes:
		h.results = append(h.results, decode[wire.Res](h.t, m.payload))
	case wire.ChannelPayGet:
		h.asked = append(h.asked, decode[wire.PayGet](h.t, m.payload).Charges)
		h.askedAt = append(h.askedAt, time.Now())
	case wire.ChannelPropose:
		h.offered = append(h.offered, decode[wire.Propose](h.t, m.payload))
	case wire.ChannelTele:
		h.teles = append(h.teles, decode[wire.Tele](h.t, m.payload))
	}
}

func (h *hubDouble) tell(p *peer, token []byte) {
	if !h.silent {
		p.deliver(down+"ack", token)
	}
}

// take verifies a batch from the head that is held, and acknowledges.
func (h *hubDouble) take(p *peer, payload []byte) {
	b, err := wire.DecodeBatch(payload)
	if err != nil {
		h.t.Errorf("batch: %v", err)
		return
	}
	h.batches = append(h.batches, b)
	if h.hold != "" || h.frozen {
		h.tell(p, h.ack(nil))
		return
	}
	if next := (ledger.Position{Epoch: b.From.Epoch, Seq: h.head.Seq + 1}); b.From.Epoch == max(h.head.Epoch, 1) && b.From.Seq > next.Seq && !(h.anyStart && h.head.Seq == 0) {
		h.tell(p, h.ack(&next))
		return
	}
	prev := b.Prev
	for i, raw := range b.Entries {
		e, err := ledger.Decode(raw)
		switch {
		case err != nil || e.Position() != b.At(i):
			h.t.Errorf("entry %v: %v", b.At(i), err)
			return
		case e.Prev != prev.String():
			h.t.Errorf("entry %v follows %s, want %s", b.At(i), e.Prev, prev)
			return
		}
		prev = ledger.HashOf(raw)
		if !h.head.Position.Before(b.At(i)) {
			continue
		}
		if i == 0 && b.Prev != h.head.Hash && h.head.Seq != 0 {
			h.t.Errorf("batch from %v does not follow %v", b.From, h.head)
			return
		}
		h.holdAll = append(h.holdAll, raw)
		h.head = ledger.Head{Position: b.At(i), Hash: prev}
	}
	if b.Checkpoint != nil {
		c, err := b.Checkpoint.Check(public(deviceKey))
		if err != nil || c.Device != device || c.Head.Position != b.At(len(b.Entries)-1) || c.Head.Hash != prev {
			h.t.Errorf("checkpoint %+v: %v", c, err)
		}
		h.checkpoints = append(h.checkpoints, c)
	}
	h.tell(p, h.ack(nil))
}

func decode[M wire.Message](t testing.TB, payload []byte) M {
	t.Helper()
	m, err := wire.Decode[M](payload)
	if err != nil {
		t.Errorf("%s: %v", m.Channel(), err)
	}
	return m
}
