package wire

import (
	"errors"
	"strings"
	"testing"
)

func TestTopics(t *testing.T) {
	for _, up := range []bool{true, false} {
		for _, c := range Channels(up) {
			want := Topic{"acme", "loja-12", exampleDevice(), up, c}
			got, err := ParseTopic(want.String())
			if err != nil || got != want {
				t.Errorf("ParseTopic(%q) = %+v, %v", want, got, err)
			}
			// The same channel in the other direction does not exist.
			want.Up = !up
			if _, err := ParseTopic(want.String()); !errors.Is(err, ErrTopic) {
				t.Errorf("ParseTopic(%q): %v, want ErrTopic", want, err)
			}
			if c.Retained() && c != ChannelState || up != (c.Typ() == "") {
				t.Errorf("%s: retained %v, typ %q", c, c.Retained(), c.Typ())
			}
		}
	}
	if got, want := ChannelState.QoS(), byte(1); got != want || !ChannelState.Retained() {
		t.Errorf("state has QoS %d, retained %v", got, ChannelState.Retained())
	}
	for _, c := range append(Channels(false), ChannelTele, "other") {
		if c.QoS() != 0 || c.Retained() {
			t.Errorf("%s has QoS %d, retained %v", c, c.QoS(), c.Retained())
		}
	}
}

func TestTopicsOfOthers(t *testing.T) {
	good := "fleet/v1/acme/s1/d1/up/hello"
	if _, err := ParseTopic(good); err != nil {
		t.Fatal(err)
	}
	longest := "fleet/v1/" + strings.Repeat("a", 64) + "/" + strings.Repeat("b", 64) + "/" + strings.Repeat("c", 64) + "/up/pay-get"
	if _, err := ParseTopic(longest); err != nil || len(longest) > MaxTopic || len(longest)+2 < MaxTopic {
		t.Errorf("longest topic of %d bytes, MaxTopic %d: %v", len(longest), MaxTopic, err)
	}
	for _, s := range []string{
		"", "/", "fleet", good + "/", "/" + good, good + "/x", "fleet/v1/acme/s1/up/hello",
		"fleet/v2/acme/s1/d1/up/hello", "Fleet/v1/acme/s1/d1/up/hello", "other/v1/acme/s1/d1/up/hello",
		"fleet/v1//s1/d1/up/hello", "fleet/v1/acme//d1/up/hello", "fleet/v1/acme/s1//up/hello",
		"fleet/v1/+/s1/d1/up/hello", "fleet/v1/acme/s1/#", "fleet/v1/acme/s1/d1/up/+",
		"fleet/v1/ACME/s1/d1/up/hello", "fleet/v1/ac me/s1/d1/up/hello", "fleet/v1/ac_me/s1/d1/up/hello",
		"fleet/v1/acmé/s1/d1/up/hello", "fleet/v1/acme\x00/s1/d1/up/hello", "fleet/v1/acme/../d1/up/hello",
		"fleet/v1/acme/s1/d1/UP/hello", "fleet/v1/acme/s1/d1//hello", "fleet/v1/acme/s1/d1/sideways/hello",
		"fleet/v1/acme/s1/d1/up/ack", "fleet/v1/acme/s1/d1/down/hello", "fleet/v1/acme/s1/d1/up/", "fleet/v1/acme/s1/d1/up/cmd",
		"fleet/v1/acme/s1/d1/sideways/ack", "fleet/v1/acme/s1/d1//ack", strings.Repeat("/", 1<<16),
		"fleet/v1/" + strings.Repeat("a", 65) + "/s1/d1/up/hello",
	} {
		if got, err := ParseTopic(s); !errors.Is(err, ErrTopic) {
			t.Errorf("ParseTopic(%q) = %+v, %v; want ErrTopic", s, got, err)
		}
	}
}

func TestSubscriptions(t *testing.T) {
	if got, want := Subscription("acme", "s1", "d1"), "fleet/v1/acme/s1/d1/down/+"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := HubSubscription, "fleet/v1/+/+/+/up/+"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
