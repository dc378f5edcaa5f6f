// Package fleet is the terminal's side of the link to its fleet: MQTT 3.1.1 to
// a broker, and through it the ledger's entries to the hub and the hub's signed
// words to the terminal. Start with [New]; [Link.Run] blocks and is supervised
// from outside. What the messages are is package fleet/wire.
//
// # What it promises
//
// Every entry of the ledger reaches the hub exactly as it is stored, in order
// and without gaps, however often the link breaks: batches go out from the
// cursor of consumer "hub", and the cursor moves only when the hub has signed
// that it holds an entry whose hash is this ledger's own at that position. A
// PUBACK, or a token of the MQTT client without an error, proves nothing and
// moves nothing. Nothing is pruned here.
//
// A message from the hub changes something only if a pinned key signed it for
// this device, for this use, within its time, and with a counter above every
// one accepted before. A broker, or whoever has its keys, can delay or drop
// messages and read them; it cannot make the terminal pay, forget or prune.
//
// Being offline costs nothing but attempts: no commit, no growing memory.
// Telemetry and events live in bounded memory and can be lost.
//
// # One connection
//
// Each TCP connection has a client of its own, with no session in the broker,
// no store and no reconnecting of its own ([Link.Run] dials anew, after a
// fully jittered pause of up to 1 s, 2 s, 4 s … 5 min, at the next broker of
// the list). Between the client and the socket sits a guard that lets no packet
// of an impossible size or kind through to it, gives every write a deadline,
// and knows what has been written. The client starts a goroutine for each
// message, so the guard gives it one at a time: none overtakes another. The
// client's handler only copies into a bounded channel.
//
// After the connection: subscribe, and check that it was granted; state
// (retained; the last will takes it back); hello; then batches. A few batches
// are on their way at a time. If the hub says nothing for 30 s, they are sent
// again from the cursor; then one batch only, ever less often, until it speaks.
//
// A batch with which the connection was lost three times before the broker took
// it is sent entry by entry; an entry that goes on to take the connection with
// it is held back, with an alarm and for growing times, and so is what follows
// it. It is never skipped.
//
// # Counters and the clock
//
// The highest counter accepted is kept in the commit that a message causes: the
// handler includes what it is given, and acknowledgements bring it with the
// cursor. There is no commit for a counter alone: a message that changed
// nothing may be accepted again after a restart, and changes nothing again. The
// time at which the newest accepted message was signed has certainly passed; it
// becomes the floor of the clock, and is kept beside the counter.
//
// A used counter changes nothing, but may mean that the hub was restored from a
// backup and forgot which ones it has used. So the terminal says hello, at most
// once a minute; the hub reads there where to go on.
//
// # Fleets with other software
//
// A [Mapping] reads foreign status messages. They are nobody's word: each is a
// hint to ask the provider, at a bounded rate.
package fleet
