// Package ledger is the terminal's book: a chain of entries that are at once
// the facts, from which every state is folded, and the outbox, from which every
// consumer (hub, archive) is served. Nothing is copied for sending and nothing
// is deleted per message.
//
// All functions work in the caller's bbolt transaction, so that an entry, the
// jobs it causes and the state it changes are one commit. Start with [Append],
// [Read] and [Verify]. [Migrations] make the buckets.
//
// # Envelope, version 1
//
// An entry is one JSON object without white space, its fields always all there
// and in this order. The stored bytes are the entry: they are hashed, signed,
// sent and exported as they are, never encoded again.
//
//	v         1; Decode refuses any other
//	epoch     which life of the store file; sequences start again in each
//	seq       1, 2, 3, … without gaps, from 1 again in a new epoch
//	prev      SHA-256 of the bytes of the entry before, lower-case hex; the
//	          first one of a new ledger has 64 zeros, and the first one of a
//	          later epoch the hash of the last one before it ([BeginEpoch])
//	at        wall   UTC with milliseconds, "2026-01-02T03:04:05.678Z"
//	          boot   id of the system's boot
//	          up_ms  clock since that boot, suspend included, milliseconds
//	          quality of wall: unsynced, floor, synced, anchored
//	op        operation id: at most one entry has it
//	kind      what happened, such as charge.created
//	actor     who did it
//	evidence  what proves it; null when nothing must
//	postings  [{"account":…,"amount":…}], centavos, debit positive, credit
//	          negative; they sum to zero
//	data      the rest
//
// Order is (epoch, seq), never time. Entries hold no personal data and no BR
// Code, because a chain cannot be erased: such data goes to [PutPrivate], and
// the entry holds its [KeyedHash].
//
// # Chart of accounts
//
//	pix_clearing     owed to the merchant by the payment provider
//	sales            revenue, gross
//	fees             what the provider keeps
//	bank             what arrived in the merchant's bank account
//	refunds          given back to payers
//	suspense         money whose charge or amount is not settled yet
//	customer_credit  owed to payers: second payments, overpayments
//
// # How long things are kept
//
// [Prune] deletes the oldest entries that every consumer has acknowledged, up
// to a signed [Checkpoint], by age or by number. The row of an entry in the
// index of operation ids lives exactly as long as the entry: a replay is
// recognised for at least the retention age after the entry was acknowledged,
// or for ever if it never was. What must be recognised for longer (references
// of API callers, txids) is kept by its owner. The hash and position of the
// last pruned entry stay as the anchor of the chain.
package ledger
