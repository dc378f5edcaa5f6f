// Package pix reads and writes BR Codes.
package pix

import (
	"errors"
	"time"

	"github.com/ssg-safe/agent/money"
)

var errNotYet = errors.New("pix: not built yet")

// Static is a static BR Code.
type Static struct {
	Key, Name, City                string
	Amount                         money.Amount
	TxID, Description, Facilitator string
}

// Encode writes the code.
func (s Static) Encode() (string, error) { return "", errNotYet }

// Kind is the kind of a code.
type Kind string

// KeyType is the type of a key.
type KeyType string

// Code is a parsed code.
type Code struct {
	Kind                                              Kind
	Key                                               string
	KeyType                                           KeyType
	URL, RecURL, Amount, Name, City, PostalCode, TxID string
	Description, Facilitator, POI, MCC                string
	Warnings                                          []Problem
	Fields                                            []Field
}

// Field is one field of a code.
type Field struct{ Tag, Value string }

// Cents is tag 54 in centavos.
func (c Code) Cents() (money.Amount, bool) { return 0, false }

// Parse reads a code.
func Parse(text string) (Code, error) { return Code{}, errNotYet }

// Validate checks a code.
func Validate(text string) error { return errNotYet }

// Problem is one thing wrong with a code.
type Problem struct{ Tag, Rule, Found, Want string }

func (p Problem) Error() string { return p.Tag }

// Problems is an error.
type Problems []Problem

func (p Problems) Error() string { return "" }

// Key is a PIX key.
type Key struct {
	Type  KeyType
	Value string
}

// Raw is the whole key.
func (k Key) Raw() string { return k.Value }

// RecogniseKey finds the type of a key.
func RecogniseKey(text string) (Key, error) { return Key{}, errNotYet }

// ValidCPF checks a CPF.
func ValidCPF(string) bool { return false }

// ValidCNPJ checks a CNPJ.
func ValidCNPJ(string) bool { return false }

// FormatCNPJ punctuates a CNPJ.
func FormatCNPJ(s string) string { return s }

// MaskDocument hides a CPF or CNPJ.
func MaskDocument(string) string { return "" }

// TxIDs makes txids.
type TxIDs struct{}

// NewTxIDs returns a generator.
func NewTxIDs(terminal string) (*TxIDs, error) { return nil, errNotYet }

// Next makes a txid.
func (t *TxIDs) Next(now time.Time) string { return "" }
