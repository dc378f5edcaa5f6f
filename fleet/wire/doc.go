// Package wire is what terminal and hub say to each other over MQTT: topics,
// messages, batches of ledger entries and signed tokens. It is pure: it reads
// no clock, no file and no socket, and everything in it is safe for concurrent
// use. docs/mqtt-protocol.md tells the same to whoever writes the other side in
// another language, docs/asyncapi.yaml to their tools; a test holds both
// against this package.
//
// # What travels how
//
// Upwards (terminal to hub) there are plain JSON messages and batches. Start
// with [Encode] and [Decode], [Batch.Encode] and [DecodeBatch]: each takes or
// returns a whole MQTT payload, deflated where that pays ([Pack]).
//
// Downwards (hub to terminal) there are only signed tokens: [Signer.Sign] and
// [Keys.Open]. A broker, or whoever holds its keys, can delay or drop them, but
// not make one.
//
// A PUBACK proves nothing about either. What the hub holds it says in an [Ack],
// what the terminal did it says in a [Res].
//
// # What a reader refuses and what it lets pass
//
// Both sides follow one rule. A text is one JSON object in UTF-8 without
// anything behind it. No member comes twice at any depth, nothing is null, a
// member's name has only lower-case letters, digits, '_' and '.', nesting ends
// at [MaxDepth]. A known member has exactly the documented type, and one that
// is not marked optional is there. An unknown member is skipped: it is how a
// newer writer tells more to an older reader. A member never changes its
// meaning. What an older reader must not overlook is a new version (plain
// messages: v) or a new typ (tokens), and those it refuses as a whole. The
// header of a token is closed: alg, typ and kid, nothing else, so there is no
// critical header to misunderstand.
package wire
