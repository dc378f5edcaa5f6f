// Package localapi lets software beside the terminal make charges and watch
// them: HTTP and JSON on a unix socket or a loopback address. It is an adapter:
// a request becomes a call of the [Desk], which is the terminal, and nothing
// here decides about money.
//
// A [Server] answers requests; [Listen] and [ListenControl] make the sockets it
// is served on. docs/local-api.md is the caller's guide, docs/openapi.yaml the
// contract, which a test holds against the handlers.
//
// # What a caller can rely on
//
// Everything that changes money carries the caller's own reference: the same
// request again is the same charge, another request under the reference is
// refused. So an answer that is lost, or says that the outcome is unknown, is
// followed by the same request again, for as long as it takes.
//
// An answer tells what is on disk. The events of GET /v1/events are the
// ledger's entries, each with its position as id; whoever reconnects with the
// last one it saw misses none, however often either side died. Where the
// entries behind that position were pruned, or belong to a life of the store
// that was never here, the answer is 410 with a snapshot to go on from.
//
// # Who may
//
// Requests name a token with scopes: [ScopeCharge] makes and cancels charges,
// [ScopeRead] reads, [ScopeOps] prints copies, closes days and settles jobs. A token cancels
// its own charges only. The control socket in the data directory needs none:
// whoever can open it owns the data.
//
// A browser on the same machine is an enemy: the Host must be one that the
// terminal is known by, and an Origin one that the configuration names.
//
// # One screen
//
// The kiosk has one screen. A charge that wants it while another charge or an
// amount at the keypad has it is refused, or, if its request says "if_free",
// made without being shown or printed.
//
// # Limits
//
// Bodies, headers, connections, streams, requests a second and the time of each
// step are bounded (limits.go), so that no caller can keep the terminal from
// its payer.
package localapi
