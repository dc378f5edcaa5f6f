package ledger

import (
	"crypto/sha256"
	"iter"
	"runtime"
	"runtime/debug"
)

// examined is an entry with all that its bytes say by themselves.
type examined struct {
	pos   Position
	raw   []byte
	entry Entry
	err   error // why raw is no entry; then what follows is zero
	// hash is that of raw, content the digest that the index holds.
	hash, content Hash
}

// stretchLen is how many entries one goroutine examines at once.
const stretchLen = 256

// stretch is some entries in a row. A goroutine of its own examines them, which
// touches their bytes and never the transaction.
type stretch struct {
	entries []examined
	done    chan struct{} // gets one value when they are examined
	fault   any           // what it panicked with
}

// examine examines entries, and yields them in their order. Decoding and hashing
// is two thirds of what Verify does, and runs ahead on all processors. What is
// yielded is valid until the next one, and no bytes are read after the end.
func examine(entries iter.Seq2[Position, []byte]) iter.Seq[*examined] {
	return func(yield func(*examined) bool) {
		most := 2 * runtime.GOMAXPROCS(0)
		var ahead, spare []*stretch // ahead: oldest first
		defer func() {
			for _, s := range ahead {
				<-s.done // it reads pages that belong to the transaction
			}
		}()
		// settle yields the oldest until at most n are ahead.
		settle := func(n int) bool {
			for len(ahead) > n {
				s := ahead[0]
				<-s.done
				ahead = ahead[1:]
				if s.fault != nil {
					panic(s.fault)
				}
				for i := range s.entries {
					if !yield(&s.entries[i]) {
						return false
					}
				}
				s.entries = s.entries[:0]
				spare = append(spare, s)
			}
			return true
		}
		var s *stretch
		for pos, raw := range entries {
			if s == nil {
				if n := len(spare); n > 0 {
					s, spare = spare[n-1], spare[:n-1]
				} else {
					s = &stretch{entries: make([]examined, 0, stretchLen), done: make(chan struct{}, 1)}
				}
			}
			s.entries = append(s.entries, examined{pos: pos, raw: raw})
			if len(s.entries) < stretchLen {
				continue
			}
			go s.examine()
			ahead, s = append(ahead, s), nil
			if !settle(most) {
				return
			}
		}
		if s != nil {
			go s.examine()
			ahead = append(ahead, s)
		}
		settle(0)
	}
}

// examine may meet a page that the disk does not give back. That is a panic in
// the goroutine of the transaction, where the store expects it.
func (s *stretch) examine() {
	defer func() {
		s.fault = recover()
		s.done <- struct{}{}
	}()
	debug.SetPanicOnFault(true)
	for i := range s.entries {
		x := &s.entries[i]
		var content int
		if x.entry, content, x.err = decode(x.raw); x.err == nil {
			x.hash, x.content = HashOf(x.raw), sha256.Sum256(x.raw[content:])
		}
	}
}
