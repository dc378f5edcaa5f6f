// Package slip lays out what payers hold in hand.
package slip

import (
	"time"

	"github.com/ssg-safe/agent/money"
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
	Amount    money.Amount
	BRCode    string
	TxID      string
	ExpiresAt time.Time // zero = never
	Payee     string    // who receives, when it is not the merchant's name
	At        time.Time
	Copy      int // 2 and more are copies
}

// Receipt says that a charge was paid. It has no room for a payable code.
type Receipt struct {
	Merchant      Merchant
	Terminal      string
	NSU           uint64
	Amount        money.Amount
	TxID          string
	EndToEnd      string // empty = not known
	Provider      string
	PaidAt, At    time.Time
	PayerName     redact.Name
	PayerDocument redact.Document
	Late          bool // the money came after the charge had ended
	Copy          int
}

// Document lays the slip out.
func (s QRSlip) Document() printer.Document { return printer.Document{} }

// Document lays the receipt out.
func (r Receipt) Document() printer.Document { return printer.Document{} }
