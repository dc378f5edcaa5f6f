package providers

import (
	"context"
	"encoding/json"
	"iter"
	"time"

	"github.com/ssg-safe/agent/money"
)

// What providers tell of an account, for operators and reconciliation. Each is
// an ability of its own, found by type assertion. Amounts that may be of another
// currency than BRL are decimal text, as the provider wrote them.

// BalanceReader reads what an account holds.
type BalanceReader interface {
	Balance(ctx context.Context) ([]Balance, error)
}

// Balance is what an account holds in one currency.
type Balance struct {
	Currency  string `json:"currency"`          // "BRL", "USDT"
	Available string `json:"available"`         // can be used now
	Blocked   string `json:"blocked,omitempty"` // held back; empty: not said
}

// Lister goes through the transactions of an account.
type Lister interface {
	// Transactions yields what the query selects, in the provider's order, until
	// the first error, which comes alone. A transaction may come twice when others
	// are made meanwhile. Time limits are the context's.
	Transactions(ctx context.Context, q TransactionQuery) iter.Seq2[Transaction, error]
}

// TransactionQuery selects transactions; empty fields select all. Words are the
// provider's own.
type TransactionQuery struct {
	// From and To bound when the transaction was made, From ≤ t < To, as far as
	// the provider says when. The zero value: a day before and after now.
	From, To time.Time
	// Received leaves out what did not come in for this account: payouts, transfers,
	// conversions.
	Received bool
	Kind     string // "cashin", "cashout"
	Word     string // status word
	Currency string
}

// Transaction is a line of an account. It holds nothing about people.
type Transaction struct {
	ID         string `json:"id"`
	ExternalID string `json:"external_id,omitempty"` // our own id
	Kind       string `json:"kind,omitempty"`        // the provider's word
	Status     Status `json:"status"`
	Word       string `json:"word"`
	Currency   string `json:"currency"`
	Amount     string `json:"amount"` // decimal text; empty: not said
	// Cents is the amount where it is one of BRL; nil: it is not.
	Cents *money.Amount `json:"centavos,omitempty"`
	// Returned is what went back of a payment that was received, BRL; nil: not said.
	Returned *money.Amount `json:"returned,omitempty"`
	EndToEnd string        `json:"end_to_end,omitempty"`
	At       time.Time     `json:"at,omitzero"` // when it was made; zero: not said
	// Digest is the SHA-256 of the answer that held it, lower-case hex.
	Digest string `json:"digest"`
}

// Reporter tells of the account in the provider's own words: what has no form
// that another provider shares.
type Reporter interface {
	// Reports names what there is, such as "limits", "fees", "profile".
	Reports() []string
	// Report returns one of them: JSON, where what looks like personal data is
	// masked. An unknown name is an Invalid error.
	Report(ctx context.Context, name string) (json.RawMessage, error)
}
