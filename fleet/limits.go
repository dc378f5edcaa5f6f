package fleet

import (
	"time"

	"github.com/ssg-safe/agent/fleet/wire"
)

// Times of a connection.
const (
	connectTimeout   = 20 * time.Second // dial, TLS and CONNACK together; and SUBACK
	writeTimeout     = 15 * time.Second // of each packet
	userTimeout      = 30 * time.Second // TCP_USER_TIMEOUT
	pubackTimeout    = 30 * time.Second // a broker that takes nothing is left
	defaultKeepalive = 60 * time.Second
	maxKeepalive     = 300 * time.Second
	maxPingTimeout   = 15 * time.Second
	farewell         = time.Second // for the last state to be taken

	minPause = time.Second     // longest first pause before a new connection
	maxPause = 5 * time.Minute // longest pause at all
	// steady is how long a connection stays for the pauses to begin anew.
	steady = time.Minute
	// Connections that others end within shortLife, this many in a row, look
	// like two clients with one name.
	shortLife   = 30 * time.Second
	shortStreak = 5
)

// Times and sizes of the ledger's way to the hub.
const (
	window          = 8 // batches on their way
	helloWait       = 3 * time.Second
	stallAfter      = 30 * time.Second
	maxStall        = 10 * time.Minute
	wantAgain       = 5 * time.Second        // the same want within this time is one want
	cursorEvery     = 250 * time.Millisecond // commits of the cursor while batches flow
	pauseAfterError = time.Second            // before the cursor is tried again
	minHold         = time.Minute            // pause before asking a hub that takes nothing
	maxHold         = 10 * time.Minute
	poisonLosses    = 3
	minPoison       = 10 * time.Minute // pause before a poisonous entry is tried again
	maxPoison       = 6 * time.Hour
	// A checkpoint is kept in the store, for pruning to stop at, each time the
	// cursor has moved this many entries.
	checkpointEvery = 64
)

// Other times and bounds.
const (
	maxInFlight  = 32 // publishes on their way, of all channels
	askEvery     = 5 * time.Second
	askLater     = 5 * time.Minute
	askOften     = 10 * time.Minute
	minTelemetry = 60 * time.Second
	maxTelemetry = 300 * time.Second

	maxInbox   = 256 // messages not yet looked at
	maxEvents  = 64
	maxResults = 64
	maxPays    = 32 // waiting for the handler
	maxCharges = 8
	handlerFor = 30 * time.Second

	// refusals a second that cost nothing but themselves; beyond them each costs
	// a pause, so that garbage cannot take the processor.
	freeRefusals  = 50
	refusalEvery  = 50 * time.Millisecond
	hintEvery     = 2 * time.Second // per charge
	freeHints     = 20
	hintRefill    = 200 * time.Millisecond
	maxHinted     = 256
	logEvery      = time.Minute
	alarmEvery    = time.Hour
	offlineLog    = time.Hour
	greetEvery    = time.Minute // hellos because of used counters
	maxPacketRead = wire.MaxPacket + wire.MaxTopic + 16
)
