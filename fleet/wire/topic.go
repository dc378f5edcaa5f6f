package wire

import (
	"fmt"
	"strings"
)

// root begins every topic: the name of the protocol and its version.
const root = "fleet/v1"

// Channel is the last segment of a topic: what kind of message it carries.
type Channel string

// The channels upwards, from terminal to hub.
const (
	ChannelState   Channel = "state"   // retained presence, and the last will
	ChannelHello   Channel = "hello"   // first message of a session
	ChannelLedger  Channel = "ledger"  // batches of entries
	ChannelEvt     Channel = "evt"     // alarms
	ChannelTele    Channel = "tele"    // measurements; may be lost
	ChannelRes     Channel = "res"     // what became of a signed message
	ChannelPayGet  Channel = "pay-get" // questions about charges
	ChannelPropose Channel = "propose" // the sealed part of a proposal
)

// The channels downwards, from hub to terminal. All carry signed tokens.
const (
	ChannelAck    Channel = "ack"    // what the hub holds of the ledger
	ChannelPay    Channel = "pay"    // what the hub knows about a charge
	ChannelCharge Channel = "charge" // a charge that the back office wants
	ChannelPayout Channel = "payout" // what became of money that leaves
)

// channels holds how each is used; it is the whole list.
var channels = []struct {
	name     Channel
	up       bool
	qos      byte
	retained bool
}{
	{ChannelState, true, 1, true},
	{ChannelHello, true, 1, false},
	{ChannelLedger, true, 1, false},
	{ChannelEvt, true, 1, false},
	{ChannelTele, true, 0, false},
	{ChannelRes, true, 1, false},
	{ChannelPayGet, true, 1, false},
	{ChannelPropose, true, 1, false},
	{ChannelAck, false, 0, false},
	{ChannelPay, false, 0, false},
	{ChannelCharge, false, 0, false},
	{ChannelPayout, false, 0, false},
}

// Channels lists every channel of one direction.
func Channels(up bool) []Channel {
	var list []Channel
	for _, c := range channels {
		if c.up == up {
			list = append(list, c.name)
		}
	}
	return list
}

// QoS is the MQTT quality of service that the channel is published with.
func (c Channel) QoS() byte {
	for _, known := range channels {
		if known.name == c {
			return known.qos
		}
	}
	return 0
}

// Retained reports whether the broker keeps the channel's last message. No
// token is ever retained.
func (c Channel) Retained() bool {
	for _, known := range channels {
		if known.name == c {
			return known.retained
		}
	}
	return false
}

// Typ is the type of the tokens that travel on a channel downwards; a channel
// upwards carries none.
func (c Channel) Typ() string {
	switch c {
	case ChannelAck:
		return TypAck
	case ChannelPay:
		return TypPay
	case ChannelCharge:
		return TypCharge
	case ChannelPayout:
		return TypPayout
	}
	return ""
}

// Topic names one channel of one device.
type Topic struct {
	Tenant, Site, Device string
	// Up is the direction: from the terminal to the hub.
	Up      bool
	Channel Channel
}

// ParseTopic reads a topic; anything that is not exactly one of the protocol's
// is ErrTopic. The hub believes none of the segments: who a device is, and
// whose, its registry says.
func ParseTopic(s string) (Topic, error) {
	segments := strings.SplitN(s, "/", 8)
	if len(segments) != 7 || segments[0]+"/"+segments[1] != root {
		return Topic{}, fmt.Errorf("%w: %.80q", ErrTopic, s)
	}
	t := Topic{
		Tenant: segments[2], Site: segments[3], Device: segments[4],
		Up: segments[5] == "up", Channel: Channel(segments[6]),
	}
	if !t.Up && segments[5] != "down" || t.Check() != nil {
		return Topic{}, fmt.Errorf("%w: %.80q", ErrTopic, s)
	}
	return t, nil
}

// String is the topic as MQTT has it. It means something only if Check is nil.
func (t Topic) String() string {
	direction := "/down/"
	if t.Up {
		direction = "/up/"
	}
	return root + "/" + t.Tenant + "/" + t.Site + "/" + t.Device + direction + string(t.Channel)
}

// Check reports what is wrong with the topic: a name that is not a segment, or
// a channel that does not exist in its direction. The error is ErrTopic.
func (t Topic) Check() error {
	for _, s := range []struct{ name, value string }{{"tenant", t.Tenant}, {"site", t.Site}, {"device", t.Device}} {
		if !ValidSegment(s.value) {
			return fmt.Errorf("%w: %s %.80q", ErrTopic, s.name, s.value)
		}
	}
	for _, c := range channels {
		if c.name == t.Channel && c.up == t.Up {
			return nil
		}
	}
	return fmt.Errorf("%w: channel %.80q in this direction", ErrTopic, string(t.Channel))
}

// ValidSegment reports whether s can name a tenant, a site or a device: 1 to 64
// of the characters a-z, 0-9 and '-'.
func ValidSegment(s string) bool {
	if len(s) == 0 || len(s) > MaxSegment {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// Subscription is the one filter that a device subscribes to, with QoS 0.
func Subscription(tenant, site, device string) string {
	return root + "/" + tenant + "/" + site + "/" + device + "/down/+"
}

// HubSubscription is the one filter that the hub subscribes to, with QoS 1.
const HubSubscription = root + "/+/+/+/up/+"
