package bacen

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/providers"
)

// Event is a received Pix, or what was given back of one, as a bank reports it.
// The body is not signed: the bank's client certificate is what vouches for it
// (mTLS), and the receiver checks that. It proves nothing all the same; it is a
// reason to ask. It holds nothing about people.
type Event struct {
	EndToEnd string
	TxID     string // empty: a Pix that no code of ours asked for
	Amount   money.Amount
	Returned money.Amount // given back by now
	At       time.Time    // when it was received, UTC
	// Key identifies the event for ever, lower-case hex SHA-256 of the end-to-end
	// id and of what was given back: one with a key that was seen before is
	// dropped, however late.
	Key string
}

// maxEvents is how many Pix one webhook may report.
const maxEvents = 1000

// ParseWebhook reads a webhook's body: {"pix":[…]} as the standard has it, or one
// bare Pix, as some banks send it.
func ParseWebhook(body []byte) ([]Event, error) {
	var in struct {
		Pix      json.RawMessage `json:"pix"`
		EndToEnd json.RawMessage `json:"endToEndId"`
	}
	if err := providers.DecodeJSON(body, &in); err != nil {
		return nil, err
	}
	var list []json.RawMessage
	switch {
	case in.Pix != nil:
		if err := json.Unmarshal(in.Pix, &list); err != nil {
			return nil, errors.New("pix is not a list")
		}
	case in.EndToEnd != nil:
		list = []json.RawMessage{body}
	}
	if len(list) == 0 || len(list) > maxEvents {
		return nil, fmt.Errorf("%d Pix in it", len(list))
	}
	var events []Event
	for i, raw := range list {
		p, err := parsePix(raw)
		if err == nil && p.txid != "" && !isTxID(p.txid, 1) {
			err = errors.New("txid is malformed")
		}
		if err != nil {
			return nil, fmt.Errorf("pix[%d]: %w", i, err)
		}
		sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%d", p.endToEnd, int64(p.returned)))
		events = append(events, Event{
			EndToEnd: p.endToEnd, TxID: p.txid, Amount: p.amount, Returned: p.returned, At: p.at, Key: hex.EncodeToString(sum[:]),
		})
	}
	return events, nil
}
