package hub

import (
	"log/slog"
	"maps"
	"sync"
	"time"
)

// Drop is why a packet was thrown away without an answer.
type Drop string

// The reasons.
const (
	DropTopic     Drop = "topic"     // not a topic upwards of this protocol
	DropTooLarge  Drop = "too_large" // larger than a limit, packed or unpacked
	DropUnknown   Drop = "unknown"   // the device is not registered
	DropRevoked   Drop = "revoked"   // the device was revoked
	DropMisplaced Drop = "misplaced" // tenant or site is not the registry's
	DropRate      Drop = "rate"      // the device sends too much
	DropBusy      Drop = "busy"      // too much waits already
	DropClosed    Drop = "closed"    // the hub is stopping
	DropMalformed Drop = "malformed" // cannot be read
	DropChain     Drop = "chain"     // entries that do not hang together
	DropForged    Drop = "forged"    // a checkpoint that the device did not sign
	DropHeld      Drop = "held"      // nothing is taken until an operator acts
	DropGap       Drop = "gap"       // entries before these are missing
	DropUnsent    Drop = "unsent"    // a token that could not be sent; it is asked for or sent again
)

// Stats counts since the hub was made.
type Stats struct {
	Packets    uint64 `json:"packets"` // handed to the hub
	Commits    uint64 `json:"commits"`
	Batches    uint64 `json:"batches"`    // taken or known
	Entries    uint64 `json:"entries"`    // new in the store
	Duplicates uint64 `json:"duplicates"` // entries that were known
	Poison     uint64 `json:"poison"`     // entries that nothing could be read from
	Forks      uint64 `json:"forks"`
	Wants      uint64 `json:"wants"`  // asked to send from an earlier position
	Tokens     uint64 `json:"tokens"` // sent downwards
	Stale      uint64 `json:"stale"`  // wills of sessions that had been replaced
	Waiting    int    `json:"waiting"`
	// Dropped packets by reason.
	Dropped map[Drop]uint64 `json:"dropped,omitempty"`
}

// counters are the Stats as they grow, and keep the log quiet: a flood of bad
// packets is one line a second for each reason.
type counters struct {
	log *slog.Logger

	mu     sync.Mutex // guards all below
	stats  Stats
	logged map[Drop]time.Time
	silent map[Drop]uint64
}

func newCounters(log *slog.Logger) *counters {
	return &counters{
		log: log, stats: Stats{Dropped: make(map[Drop]uint64)},
		logged: make(map[Drop]time.Time), silent: make(map[Drop]uint64),
	}
}

func (c *counters) add(do func(*Stats)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	do(&c.stats)
}

func (c *counters) snapshot() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	s.Dropped = maps.Clone(s.Dropped)
	return s
}

// drop counts, and logs at most once a second for each reason.
func (c *counters) drop(why Drop, topic, detail string) {
	c.mu.Lock()
	c.stats.Dropped[why]++
	now := time.Now()
	quiet := now.Sub(c.logged[why]) < time.Second
	silent := c.silent[why]
	if quiet {
		c.silent[why]++
	} else {
		c.logged[why], c.silent[why] = now, 0
	}
	c.mu.Unlock()
	if quiet {
		return
	}
	if len(topic) > 200 {
		topic = topic[:200]
	}
	c.log.Warn("packet dropped", "reason", string(why), "topic", topic, "detail", detail, "more", silent)
}
