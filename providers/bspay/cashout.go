package bspay

import "encoding/json"

// cashoutRequest is the body of a cashout. Its fields stand in the order of the
// document's own client, whose signature vectors it must reproduce.
type cashoutRequest struct {
	ExternalID  string      `json:"external_id"`
	Amount      json.Number `json:"amount"`
	Currency    string      `json:"currency"`
	Key         string      `json:"key"`
	KeyType     string      `json:"key_type,omitempty"`
	Description string      `json:"description"`
	Network     string      `json:"network,omitempty"`
	Name        string      `json:"name,omitempty"`
	BankCode    string      `json:"bank_code,omitempty"`
}
