// Package slip lays out what payers hold in hand: the slip with a code to be
// paid ([QRSlip]) and the receipt of a payment ([Receipt]). Each is plain data
// and becomes a printer.Document; it does no I/O and knows no printer.
//
// Every slip names the merchant, the terminal, its gap-free number (NSU) and
// when it was issued, and says that it is no tax document. A reprint carries
// the number of the first print and says "2ª VIA". A receipt has no place for
// a payable code, so that nobody pays twice from it. Persons appear with their
// masked forms only (package redact). Times are printed in the zone they carry:
// the caller puts them into the merchant's.
package slip

import (
	"fmt"
	"time"

	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/pix"
	"github.com/ssg-safe/agent/printer"
	"github.com/ssg-safe/agent/redact"
)

// Merchant is the head of a slip.
type Merchant struct {
	Name  string
	CNPJ  string   // 14 characters, with or without punctuation
	Lines []string // address, telephone: printed as they are
}

// QRSlip is a charge to be paid, on paper.
type QRSlip struct {
	Merchant  Merchant
	Terminal  string
	NSU       uint64
	Amount    money.Amount // 0: the payer types it, and the slip says none
	BRCode    string
	TxID      string
	ExpiresAt time.Time // zero = not said
	Payee     string    // who receives, where it is not Merchant.Name
	At        time.Time // issued
	Copy      int       // 2 and more are copies
	// Offline: the terminal made the code by itself and learns later of its
	// payment.
	Offline bool
}

// Receipt says that a charge was paid.
type Receipt struct {
	Merchant      Merchant
	Terminal      string
	NSU           uint64
	Amount        money.Amount
	TxID          string
	EndToEnd      string // end-to-end id; empty = not known
	Provider      string // who processed it; empty = not said
	PaidAt        time.Time
	At            time.Time // issued
	PayerName     redact.Name
	PayerDocument redact.Document
	Refunded      money.Amount // what went back to the payer since
	Late          bool         // the money came after the charge had ended
	Copy          int          // 2 and more are copies
}

// Document lays the slip out.
func (s QRSlip) Document() printer.Document {
	d := begin(s.Merchant)
	d.centre(titlePay, bold)
	d.copy(s.Copy)
	if s.Amount != 0 {
		d.centre(s.Amount.BRL(), large)
	}
	d.add(printer.QR{Code: s.BRCode})
	d.centre(howToPay, plain)
	if !s.ExpiresAt.IsZero() {
		d.centre(payBefore+s.ExpiresAt.Format(timeForm), bold)
	}
	if s.Offline {
		d.centre(foundLater, plain)
	}
	d.add(printer.Rule{})
	d.pair(labelPayee, s.Payee)
	d.number(s.Terminal, s.NSU)
	d.time(labelIssued, s.At)
	d.pair(labelTxID, s.TxID)
	d.add(printer.Rule{})
	d.centre(noProof, plain)
	return d.end()
}

// Document lays the receipt out.
func (r Receipt) Document() printer.Document {
	d := begin(r.Merchant)
	d.centre(titleReceipt, bold)
	if r.Copy < 2 {
		d.centre(customerCopy, plain)
	}
	d.copy(r.Copy)
	d.centre(r.Amount.BRL(), large)
	if r.Late {
		d.centre(late, bold)
		d.centre(lateAdvice, plain)
	} else {
		d.centre(confirmed, bold)
	}
	if r.Refunded > 0 {
		d.centre(fmt.Sprintf(refunded, r.Refunded.BRL()), bold)
	}
	d.add(printer.Rule{})
	d.time(labelPaid, r.PaidAt)
	d.pair(labelPayer, r.PayerName.String())
	d.pair(labelDocument, r.PayerDocument.String())
	d.pair(labelProvider, r.Provider)
	d.add(printer.Rule{})
	d.number(r.Terminal, r.NSU)
	d.time(labelIssued, r.At)
	d.pair(labelTxID, r.TxID)
	if r.EndToEnd != "" {
		// 32 characters: a line of its own on every paper
		d.add(
			printer.Text{Text: labelEndToEnd},
			printer.Text{Text: r.EndToEnd, Align: printer.Right},
		)
	}
	d.add(printer.Rule{})
	return d.end()
}

// layout collects blocks.
type layout struct{ blocks []printer.Block }

var (
	plain = printer.Text{Align: printer.Centre}
	bold  = printer.Text{Align: printer.Centre, Bold: true}
	large = printer.Text{Align: printer.Centre, Bold: true, Wide: true, Tall: true}
)

func begin(m Merchant) *layout {
	d := &layout{blocks: make([]printer.Block, 0, 32)}
	d.centre(m.Name, bold)
	if m.CNPJ != "" {
		d.centre("CNPJ "+pix.FormatCNPJ(m.CNPJ), plain)
	}
	for _, l := range m.Lines {
		d.centre(l, plain)
	}
	d.add(printer.Rule{})
	return d
}

func (d *layout) end() printer.Document {
	d.centre(notFiscal, bold)
	d.add(printer.Feed{Lines: 1}, printer.Cut{})
	return printer.Document{Blocks: d.blocks}
}

func (d *layout) add(bs ...printer.Block) { d.blocks = append(d.blocks, bs...) }

func (d *layout) centre(text string, like printer.Text) {
	if text != "" {
		like.Text = text
		d.add(like)
	}
}

func (d *layout) copy(n int) {
	if n >= 2 {
		d.centre(fmt.Sprintf(copyOf, n), bold)
	}
}

func (d *layout) pair(label, value string) {
	if value != "" {
		d.add(printer.Pair{Label: label, Value: value})
	}
}

func (d *layout) number(terminal string, nsu uint64) {
	d.pair(labelTerminal, terminal)
	d.pair(labelNSU, fmt.Sprintf("%06d", nsu))
}

func (d *layout) time(label string, t time.Time) {
	if !t.IsZero() {
		d.pair(label, t.Format(timeForm))
	}
}
