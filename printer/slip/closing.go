package slip

import (
	"fmt"
	"strconv"
	"time"

	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/printer"
)

// Closing is an X (a look at the running day) or a Z (a closing) on paper.
type Closing struct {
	Merchant Merchant
	Terminal string
	NSU      uint64
	Number   uint64 // of the Z; 0: an X
	Date     string // business day, "2026-07-01"
	// From and To are the ledger's positions: after From, up to To.
	From, To  string
	Providers []ClosingProvider
	// Tickets are the differences with providers that wait for a person.
	Tickets int
	At      time.Time
	Copy    int // 2 and more are copies
}

// ClosingProvider is what came through one provider.
type ClosingProvider struct {
	Name                                string // "" where nobody knows it
	Paid, Late, Extra, Mismatch, Refund Total
	Unmatched                           Total // refunds that fit no payment
	Created, Expired, Cancelled, Failed Total
}

// Total is a number of charges or payments and their sum.
type Total struct {
	Count int
	Sum   money.Amount
}

func (t Total) plus(o Total) Total { return Total{t.Count + o.Count, t.Sum + o.Sum} }

// Document lays the slip out.
func (c Closing) Document() printer.Document {
	d := begin(c.Merchant)
	if c.Number == 0 {
		d.centre(titleLook, bold)
	} else {
		d.centre(fmt.Sprintf(titleClosing, c.Number), bold)
	}
	d.copy(c.Copy)
	if day, err := time.Parse(time.DateOnly, c.Date); err == nil {
		d.pair(labelBusinessDay, day.Format("02/01/2006"))
	}
	d.pair(labelEntries, fmt.Sprintf(entriesFromTo, c.From, c.To))
	d.add(printer.Rule{})
	var received, returned Total
	for _, p := range c.Providers {
		name := p.Name
		if name == "" {
			name = noProvider
		}
		d.add(printer.Text{Text: name, Bold: true})
		for _, row := range []struct {
			label string
			Total
		}{
			{totalPaid, p.Paid},
			{totalLate, p.Late},
			{totalExtra, p.Extra},
			{totalMismatch, p.Mismatch},
			{totalRefund, p.Refund},
			{totalUnmatched, p.Unmatched},
			{totalCreated, p.Created},
			{totalExpired, p.Expired},
			{totalCancelled, p.Cancelled},
			{totalFailed, p.Failed},
		} {
			if row.Count > 0 {
				d.total(row.label, row.Total)
			}
		}
		received = received.plus(p.Paid).plus(p.Late).plus(p.Extra).plus(p.Mismatch)
		returned = returned.plus(p.Refund).plus(p.Unmatched)
		d.add(printer.Rule{})
	}
	d.add(printer.Pair{Label: fmt.Sprintf(totalForm, totalReceived, received.Count), Value: received.Sum.BRL(), Bold: true})
	if returned.Count > 0 {
		d.add(printer.Pair{Label: fmt.Sprintf(totalForm, totalReturned, returned.Count), Value: returned.Sum.BRL(), Bold: true})
	}
	if c.Tickets > 0 {
		d.pair(labelTickets, strconv.Itoa(c.Tickets))
	}
	d.add(printer.Rule{})
	d.number(c.Terminal, c.NSU)
	d.time(labelIssued, c.At)
	d.add(printer.Rule{})
	return d.end()
}

func (d *layout) total(label string, t Total) {
	d.pair(fmt.Sprintf(totalForm, label, t.Count), t.Sum.BRL())
}
