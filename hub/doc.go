// Package hub is the fleet's other side: the collector that terminals send their
// ledgers to, and from which they learn what was paid and what is to be charged.
// Package fleet/wire is what they say to each other.
//
// # Use
//
//	store, err := bolt.Open(bolt.Options{Path: "hub.db"})
//	h, err := hub.New(hub.Options{Store: store, Signer: signer})
//	err = h.Register(ctx, hub.Device{Name: "kiosk-7", Tenant: "acme", Site: "lobby", Key: pub})
//	link, err := hub.NewMQTT(hub.MQTTOptions{Brokers: []string{"ssl://broker:8883"}, TLS: config})
//	err = h.Run(ctx, link)
//
// [Hub.Handle] takes packets without any MQTT, which is how the tests work.
// cmd/hub is the program.
//
// # One rule
//
// A terminal deletes what the hub has acknowledged. So the hub acknowledges
// nothing before its own commit, and what it acknowledges is signed: {epoch, seq,
// head}, which the terminal compares with its own chain. A PUBACK proves nothing.
//
// Everything the hub knows is in its [Store]; memory holds only what waits, who
// is connected, and when what is sent next. A kill is a start that finds more to
// do. One goroutine writes: whatever waits, from however many devices, goes into
// one transaction, without timers (group commit), and each device gets one
// answer for it. Every token has the next counter of its device, which is
// committed before the token is sent.
//
// # What is taken
//
// Who a device is, and whose, says the registry, never the topic. A batch must
// continue the stored chain or repeat it:
//
//	continues the head         stored byte for byte, acknowledged
//	repeats what is stored     acknowledged again
//	begins above the head      asked to send from the head on (want); what it has
//	                           lost, somebody may let pass (ApproveGap)
//	other bytes for a position fork: alarm, nothing is taken from the device any
//	                           more until somebody has looked (ApproveFork)
//	an epoch not approved      alarm, nothing is taken of it (ApproveEpoch); the
//	                           first one comes with the registration
//	does not hang together     alarm, dropped
//	a wrong checkpoint         alarm, dropped
//	an entry nobody can read   stored and acknowledged like any other, and
//	                           quarantined: it must not block those behind it
//
// An acknowledgement covers the epochs before its own. So an epoch begins only
// where the one before is complete, which the hash in its first entry tells.
//
// A hub that was restored from a backup is behind what it acknowledged. It finds
// out from a hello, or from a batch above its head, and asks for the rest. Its
// counters follow its clock, so that devices take its tokens at once; where the
// clock stood still as well, they start behind what the hello says.
//
// # What a broker can do
//
// What comes up is not signed, except checkpoints. A hostile broker can drop and
// delay, and it can make up entries, which end in a fork and an alarm: it can
// stop a device's synchronisation, and a person has to look. It can make up a
// res, which ends a message, but the device still asks about what it waits for.
// It cannot change what a device has signed, nor have anything paid: an entry
// that tells of a payment counts only when a checkpoint covers it (see
// [Payment]).
//
// # Downwards
//
// [Hub.Pay] and [Hub.Charge] are durable when they return. They are sent after
// 2 s, 5 s, 15 s and so on until the device's res, at once after each hello, and
// not to a device that is known to be away. [Hub.Payout] tells of payouts and refunds in
// the same way; proposals.go has what devices propose of them. A pay-get is answered from what is
// known and signed or told.
package hub
