package main

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/hub"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/providers/bacen/bacensim"
)

// sell sends a ledger with one charge that was paid, signed.
func (d *terminal) sell(charge, endToEnd string, cents int) {
	d.t.Helper()
	var entries [][]byte
	prev := ledger.Hash{}
	add := func(op, kind, evidence, data string) {
		seq := len(entries) + 1
		raw := fmt.Appendf(nil, `{"v":1,"epoch":1,"seq":%d,"prev":"%s","at":{"wall":"2026-01-02T03:04:05.000Z","boot":"boot-1","up_ms":5,"quality":"synced"},"op":%q,"kind":%q,"actor":"test","evidence":%s,"postings":[],"data":%s}`,
			seq, prev, op, kind, evidence, data)
		entries, prev = append(entries, raw), ledger.HashOf(raw)
	}
	add("charge/"+charge+"/created", "charge.created", "null",
		fmt.Sprintf(`{"charge":%q,"merchant":"loja","route":"banco","account":"conta-1","amount":%d,"expiry_s":300,"source":"keypad","present":true}`, charge, cents))
	add("payment/"+endToEnd, "charge.paid",
		fmt.Sprintf(`{"source":"provider","route":"banco","account":"conta-1","attempt":1,"provider_id":"tx","amount":%d,"end_to_end":%q,"digest":"aa"}`, cents, endToEnd),
		fmt.Sprintf(`{"charge":%q,"attempt":1,"amount":%d}`, charge, cents))
	head := ledger.Head{Position: ledger.Position{Epoch: 1, Seq: uint64(len(entries))}, Hash: prev}
	signed, err := ledger.Sign(keyOf(d.seed), ledger.Checkpoint{Device: d.name, Head: head, Boot: "boot-1", Wall: time.Now()})
	if err != nil {
		d.t.Fatal(err)
	}
	payload, err := wire.Batch{V: 1, SID: "s", From: ledger.Position{Epoch: 1, Seq: 1}, Entries: entries, Checkpoint: &signed}.Encode()
	if err != nil {
		d.t.Fatal(err)
	}
	topic := wire.Topic{Tenant: "acme", Site: "lobby", Device: d.name, Up: true, Channel: wire.ChannelLedger}
	if tok := d.client.Publish(topic.String(), 1, false, payload); !tok.WaitTimeout(time.Minute) || tok.Error() != nil {
		d.t.Fatalf("publish: %v", tok.Error())
	}
	select {
	case a := <-d.acks:
		if a.Seq != 2 {
			d.t.Fatalf("acknowledged %+v", a)
		}
	case <-time.After(time.Minute):
		d.t.Fatal("it is not acknowledged")
	}
}

// A payment of a terminal's ledger goes back by the bank, in parts, never more than
// was paid; where the provider cannot, a ticket says who has to do what.
func TestRefundCommands(t *testing.T) {
	keys, people := crew(t, "ana", "bia", "caio")
	sim, err := bacensim.New(bacensim.Options{RefundAfter: 300 * time.Millisecond, Modes: bacensim.Modes{Refunds: true}})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(sim)
	t.Cleanup(func() {
		server.Close()
		if err := sim.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := sim.Receive("T0010000000000000000000011", 1000); err != nil {
		t.Fatal(err)
	}
	paid := sim.Received()[0].EndToEnd
	account := fmt.Sprintf("[[provider]]\nname = \"conta-bb\"\ntype = \"bacen\"\nmerchant = \"loja\"\nurl = %q\nallow_insecure_http = true\nclient_id = %q\nclient_secret = %s\nrequests_per_second = 100\n[provider.bacen]\nprofile = \"simulator\"\n",
		server.URL, bacensim.DefaultClientID, secretFile(t, bacensim.DefaultClientSecret))
	data, addr := t.TempDir(), freeAddress(t)
	must(t, data, "keys", "make")
	startHub(t, data, fmt.Sprintf("[listen]\naddress = %q\n", addr)+people+account)
	enrol(t, data, 1, "kiosk-1")
	d := &terminal{t: t, name: "kiosk-1", seed: 1}
	password := strings.TrimSpace(must(t, data, "device", "password", "kiosk-1"))
	if !d.connect("tcp://"+addr, paho.NewClientOptions().SetUsername("kiosk-1").SetPassword(password), pinned(t, data)) {
		t.Fatal("refused")
	}
	const charge = "T001000000000000000000001"
	d.sell(charge, paid, 1000)

	propose := func(route, amount string) []string {
		return []string{"refund", "propose", "kiosk-1", charge, "--provider", route, "--end-to-end", paid, "--amount", amount, "--by", "ana", "--key", keys["ana"]}
	}
	refused(t, "not proved", "refund", "propose", "kiosk-1", charge, "--provider", "banco", "--end-to-end", "E"+strings.Repeat("1", 31), "--amount", "1.00", "--by", "ana", "--key", keys["ana"], "--data", data)
	refused(t, "more would be refunded than was paid", append(propose("conta-bb", "10.01"), "--data", data)...)
	part := one(t, data, propose("conta-bb", "6.00")...)
	if part.Manual || part.Merchant != "loja" || part.Device != "kiosk-1" {
		t.Errorf("got %+v", part)
	}
	refused(t, "more would be refunded than was paid", append(propose("conta-bb", "4.01"), "--data", data)...)
	must(t, data, "refund", "approve", string(part.ID), part.Digest, "--by", "bia", "--key", keys["bia"])
	eventually(t, "it is settled", func() bool { return one(t, data, "refund", "show", string(part.ID)).State == "settled" })
	if got := sim.Refunds(); len(got) != 1 || got[0].Amount != 600 || got[0].ID != string(part.ID) || got[0].EndToEnd != paid {
		t.Errorf("the bank has %+v", got)
	}

	// The rest by hand, by the terminal's name for the provider: two must approve what
	// no account limits.
	refused(t, "the hub has: conta-bb", append(propose("maquininha", "4.00"), "--data", data)...)
	ticket := one(t, data, propose("banco", "4.00")...)
	refused(t, "is a refund, not a payout: see ssg-hub refund show", "payout", "approve", string(ticket.ID), ticket.Digest, "--by", "bia", "--key", keys["bia"], "--data", data)
	refused(t, "is a refund, not a payout", "payout", "show", string(ticket.ID), "--data", data)
	if out := must(t, data, "refund", "show", string(ticket.ID)); !strings.Contains(out, "a person, in the provider's panel") {
		t.Errorf("nobody sees that a person has to do it:\n%s", out)
	}
	for _, who := range []string{"bia", "caio"} {
		must(t, data, "refund", "approve", string(ticket.ID), ticket.Digest, "--by", who, "--key", keys[who])
	}
	var alarm hub.Alarm
	if err := json.Unmarshal([]byte(must(t, data, "alarms", "list", "--json")), &alarm); err != nil || alarm.Kind != "ticket" || !strings.Contains(alarm.Text, "by hand") || !strings.Contains(alarm.Text, string(ticket.ID)) {
		t.Errorf("got %+v (%v)", alarm, err)
	}
	if out := must(t, data, "refund", "list"); !strings.Contains(out, "ticket") {
		t.Errorf("got\n%s", out)
	}
	resolve := []string{"refund", "resolve", string(ticket.ID), "--state", "settled", "--reason", "panel of the provider", "--data", data}
	refused(t, "end-to-end id", append(resolve, "--by", "bia", "--key", keys["bia"])...)
	resolve = append(resolve, "--end-to-end", "D"+strings.Repeat("0", 31))
	refused(t, "must be another's than the proposer's", append(resolve, "--by", "ana", "--key", keys["ana"])...)
	must(t, data, append(resolve, "--by", "bia", "--key", keys["bia"])...)
	if out := must(t, data, "alarms", "list"); strings.Contains(out, string(ticket.ID)) {
		t.Errorf("it is done, and people are told to do it:\n%s", out)
	}
	if got := one(t, data, "refund", "show", string(ticket.ID)); got.State != "settled" {
		t.Errorf("got %+v", got)
	}
	must(t, data, "payout", "verify")
}
