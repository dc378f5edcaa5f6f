// Package payouts is where money leaves: payouts to PIX keys and refunds of
// payments, proposed and approved by operators and submitted by the hub, which
// alone holds credentials that can pay out. Package payout has the rules; this one
// keeps the facts, knows who may agree, and talks to the providers.
//
// # Use
//
//	book, err := payouts.Open(ctx, payouts.Options{Store: hub, Routes: routes, Operators: operators})
//	err = book.Run(ctx)                        // submits and asks
//	r, err := book.Do(ctx, "eyJ2Ijox….mZ2c…")  // what an operator signed
//
// # Who says so
//
// Nothing is done at the word of whoever reaches the hub's socket. Proposing,
// approving, rejecting and testifying are statements ([Statement]) that an operator
// signs with an Ed25519 key of his own; the hub's configuration, which the hub's user
// need not be able to write, names the public keys. A statement holds for minutes,
// and once: a proposal carries the payout's id, an approval its digest and time.
// Whoever proposed a payout cannot approve it; from an amount on two others must.
//
// A terminal may propose, too, within what the configuration allows its tenant
// ([Terminals]). It signs no statement: what it proposes rests on an entry of its signed
// ledger, which package hub holds, and needs two approvals at any amount. It is told what
// becomes of it.
//
// # What is kept
//
// Every fact is an entry of one chain: numbered, with the hash of the entry before,
// the time, and the statement it rests on, except a proposal's, which holds the key
// that is paid. Records of the payouts lie beside it and are folded from it: [Verify]
// compares the two, and so does [Open]. The key to pay, the description and the
// signed proposal are kept apart and erased some time after the payout's end.
//
// # At most once
//
// The fact that an order is being submitted is durable before the request is made.
// [Open] turns each such fact without an outcome into "unknown", and unknown leaves
// only by evidence. One goroutine for each route submits and asks, with growing
// pauses; a [Book.Hint], such as a webhook, only makes it ask now. An unknown payout
// that does not come to an end is an alarm for a person, and is asked about further.
//
// Where a provider cannot give money back, an approved refund is a ticket: an alarm
// says what to do by hand, and the refund waits for an operator who signs for how it
// ended.
package payouts
