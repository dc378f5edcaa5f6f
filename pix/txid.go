package pix

import (
	"crypto/rand"
	"fmt"
	"sync/atomic"
	"time"
)

// alphabet is Crockford's base32: digits and upper-case letters without I, L, O
// and U, so that an id survives being read out.
const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// TxIDs makes txids of static codes, which also serve as charge ids: 25
// upper-case characters,
//
//	terminal (4) | milliseconds since 1970 (10) | counter (3) | random (8)
//
// the last three in Crockford's base32 (0-9 and A-Z without I, L, O, U). Within
// one generator two ids differ as long as fewer than 32,768 are made per
// millisecond; the 40 random bits keep them apart where the clock jumps back,
// the agent restarts, or two terminals carry the same code by mistake. Ids say
// nothing about order.
//
// A TxIDs is safe for concurrent use.
type TxIDs struct {
	terminal string
	counter  atomic.Uint32
	random   func([]byte) // fills a slice
}

// NewTxIDs returns the generator of the terminal with the given code: 4 upper-
// case letters or digits, assigned, and unique among the terminals that share
// a PIX key.
func NewTxIDs(terminal string) (*TxIDs, error) {
	const want = "4 upper-case letters or digits"
	if c, i, bad := firstOutside(terminal, isUpperAlnum); bad {
		return nil, fmt.Errorf("terminal code: found %s, expected %s", character(c, i), want)
	}
	if len(terminal) != 4 {
		return nil, fmt.Errorf("terminal code: found %s, expected %s", count(len(terminal), "character"), want)
	}
	return &TxIDs{terminal: terminal, random: func(b []byte) { _, _ = rand.Read(b) }}, nil // never fails, see crypto/rand
}

// Next makes an id. The time may be anything; it only helps people to find
// things.
func (t *TxIDs) Next(now time.Time) string {
	var id [25]byte
	copy(id[:4], t.terminal)
	base32(id[4:14], uint64(max(0, now.UnixMilli())))
	base32(id[14:17], uint64(t.counter.Add(1)))
	var r [5]byte
	t.random(r[:])
	base32(id[17:25], uint64(r[0])<<32|uint64(r[1])<<24|uint64(r[2])<<16|uint64(r[3])<<8|uint64(r[4]))
	return string(id[:])
}

// base32 fills dst with the low bits of v, most significant first.
func base32(dst []byte, v uint64) {
	for i := len(dst) - 1; i >= 0; i-- {
		dst[i] = alphabet[v&31]
		v >>= 5
	}
}
