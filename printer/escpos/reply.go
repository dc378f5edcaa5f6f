package escpos

import "time"

// Kind is the kind of an answer.
type Kind int

// The kinds.
const (
	Unexpected  Kind = iota // bytes of no known form; Raw holds them
	FlowControl             // XON or XOFF that reached us
	RealTime                // answer to [Status]; Byte
	AutoStatus              // four bytes that nobody asked for; Raw
	Sensor                  // answer to [Barrier]; Byte
	ProcessID               // ID
	Cleared                 // buffers were cleared
	SymbolSize              // Raw
	Identity                // Raw, the text
)

// Reply is one answer.
type Reply struct {
	Kind Kind
	Byte byte
	ID   [4]byte
	Raw  []byte // valid until the next call of Feed
}

const (
	maxBlock  = 80
	blockTime = 500 * time.Millisecond
)

// Replies takes the bytes of a printer apart. All answers come over one wire;
// the class of each is in its first byte (TM-T88III specification, appendix
// G). A block that is too long or takes too long is dropped and reported as
// Unexpected. The zero value is ready.
type Replies struct {
	block []byte    // an unfinished block or automatic status
	since time.Time // of its first byte
	need  int       // length of an automatic status; 0 = a block up to 00
}

// Feed takes bytes that arrived at a time and calls emit for every answer that
// they complete.
func (p *Replies) Feed(at time.Time, data []byte, emit func(Reply)) {
	for _, b := range data {
		if len(p.block) > 0 && at.Sub(p.since) > blockTime {
			p.drop(emit)
		}
		if len(p.block) > 0 {
			p.within(at, b, emit)
			continue
		}
		p.first(at, b, emit)
	}
}

func (p *Replies) first(at time.Time, b byte, emit func(Reply)) {
	switch {
	case b == 0x11 || b == 0x13:
		emit(Reply{Kind: FlowControl, Byte: b})
	case b == 0x37 || b == 0x5f:
		p.begin(at, b, 0)
	case b&0x93 == 0x12:
		emit(Reply{Kind: RealTime, Byte: b})
	case b&0x93 == 0x10:
		p.begin(at, b, 4)
	case b&0x90 == 0:
		emit(Reply{Kind: Sensor, Byte: b})
	default:
		emit(Reply{Kind: Unexpected, Raw: []byte{b}})
	}
}

func (p *Replies) begin(at time.Time, b byte, need int) {
	p.block, p.since, p.need = append(p.block[:0], b), at, need
}

func (p *Replies) within(at time.Time, b byte, emit func(Reply)) {
	if b == 0x11 || b == 0x13 { // stands anywhere, and is part of no answer
		emit(Reply{Kind: FlowControl, Byte: b})
		return
	}
	if p.need > 0 {
		if b&0x90 != 0 {
			p.drop(emit)
			p.first(at, b, emit)
			return
		}
		if p.block = append(p.block, b); len(p.block) == p.need {
			p.finish(Reply{Kind: AutoStatus, Raw: p.block}, emit)
		}
		return
	}
	if b != 0 {
		if p.block = append(p.block, b); len(p.block) > maxBlock {
			p.drop(emit)
		}
		return
	}
	body := p.block[1:]
	r := Reply{Kind: Unexpected, Raw: p.block}
	switch {
	case p.block[0] == 0x5f:
		r = Reply{Kind: Identity, Raw: body}
	case len(body) == 5 && body[0] == 0x22:
		r = Reply{Kind: ProcessID, ID: [4]byte(body[1:])}
	case len(body) == 1 && body[0] == 0x25:
		r = Reply{Kind: Cleared}
	case len(body) > 1 && body[0] == 0x36:
		r = Reply{Kind: SymbolSize, Raw: body[1:]}
	}
	p.finish(r, emit)
}

func (p *Replies) drop(emit func(Reply)) {
	p.finish(Reply{Kind: Unexpected, Raw: p.block}, emit)
}

func (p *Replies) finish(r Reply, emit func(Reply)) {
	emit(r)
	p.block, p.need = p.block[:0], 0
}
