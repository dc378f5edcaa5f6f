package wire

import (
	"errors"
	"time"
)

// Version of every plain message and of the batch.
const Version = 1

// Limits that both sides keep. Sizes are bytes.
const (
	// MaxPacket is the largest MQTT payload, after packing.
	MaxPacket = 64 << 10
	// MaxInflated is the largest payload after unpacking.
	MaxInflated = 512 << 10
	// MaxMessage is the largest plain message, a batch excepted, after unpacking.
	MaxMessage = 16 << 10
	// MaxBatchEntries is how many entries one batch holds.
	MaxBatchEntries = 100
	// MaxBatchBytes is how many bytes of entries one batch holds. A batch of one
	// entry may be larger, so that no entry of the ledger is too large to be sent.
	MaxBatchBytes = 32 << 10
	// MaxEntry is the largest entry, as in package ledger.
	MaxEntry = 64 << 10
	// MaxBatchHeader is the longest first line of a batch.
	MaxBatchHeader = 4 << 10
	// MaxInFlight is how many batches may wait for their acknowledgement.
	MaxInFlight = 32
	// MaxToken is the longest signed token.
	MaxToken = 4 << 10
	// MaxLifetime is the longest time between a token's iat and exp.
	MaxLifetime = 24 * time.Hour
	// ClockLeeway is how far the clocks of two honest sides may be apart.
	ClockLeeway = 60 * time.Second
	// MaxKeys is how many hub keys are valid at a time: the one in use and the
	// next, or the one before.
	MaxKeys = 2
	// MaxCounter is the largest value of ctr: every language reads it exactly.
	MaxCounter = 1<<53 - 1
	// MaxDepth is how deep JSON may be nested, the outermost object included.
	MaxDepth = 8
	// MaxID is the longest identifier: sid, jti, charge, kind and the like.
	MaxID = 64
	// MaxText is the longest free text in a message, in bytes of UTF-8.
	MaxText = 256
	// MaxAsked is how many charges one pay-get asks about.
	MaxAsked = 32
	// MaxMetrics is how many counters, and how many gauges, one tele holds.
	MaxMetrics = 64
	// MaxDetails is how many details one evt holds.
	MaxDetails = 16
	// MaxSegment is the longest name of a tenant, a site or a device.
	MaxSegment = 64
	// MaxSealed is the longest text that is sealed to the hub, for all its keys together.
	MaxSealed = 4 << 10
	// MaxTopic is the longest topic.
	MaxTopic = len(root) + 3*(1+MaxSegment) + len("/down/pay-get")
	// PackAbove is the size from which a payload is deflated.
	PackAbove = 400
)

// Errors that callers branch on.
var (
	// ErrTooLarge: more bytes than a limit allows, packed or unpacked.
	ErrTooLarge = errors.New("larger than the limit")
	// ErrEncoding: a payload that is neither JSON nor a deflated payload.
	ErrEncoding = errors.New("neither plain nor deflated")
	// ErrVersion: a message of a version that this program does not know.
	ErrVersion = errors.New("unknown version")
	// ErrMalformed: not what the protocol allows at this place.
	ErrMalformed = errors.New("malformed")
	// ErrTopic: not a topic of this protocol.
	ErrTopic = errors.New("not a topic of this fleet")

	// ErrSignature: the signature does not belong to the token and the key.
	ErrSignature = errors.New("the signature is wrong")
	// ErrAlgorithm: a token that is not signed with EdDSA.
	ErrAlgorithm = errors.New("not signed with EdDSA")
	// ErrType: a token made for another use.
	ErrType = errors.New("a token of another type")
	// ErrAudience: a token made for another device.
	ErrAudience = errors.New("a token for another device")
	// ErrExpired: a token before or after its time.
	ErrExpired = errors.New("a token outside its time")
	// ErrKey: a token signed by a key that is not pinned.
	ErrKey = errors.New("an unknown key")
	// ErrSealed: sealed for other keys or another context, or damaged.
	ErrSealed = errors.New("what is sealed cannot be opened")
)
