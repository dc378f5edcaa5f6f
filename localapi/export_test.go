package localapi

import (
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/ticket"
)

// Operations counts what the server can do.
func Operations() (n int) {
	for _, routes := range operations {
		n += len(routes)
	}
	return n
}

// Statuses are the codes with their HTTP status.
func Statuses() map[Code]int { return statuses }

// DecodeOrder, DecodeJobs, DecodeClosure, DecodeClose, DecodeProposal and DecodePosition read what comes from outside.
func DecodeOrder(body []byte) (Order, error)              { return decodeOrder(body) }
func DecodeJobs(body []byte) ([]uint64, error)            { return decodeJobs(body) }
func DecodeClosure(body []byte) (Closure, error)          { return decodeClosure(body) }
func DecodeClose(body []byte) (string, ticket.How, error) { return decodeClose(body) }
func DecodeProposal(body []byte) (ProposalOrder, error)   { return decodeProposal(body) }
func DecodePosition(s string) (ledger.Position, bool)     { return decodePosition(s) }
func EncodePosition(p ledger.Position) string             { return encodePosition(p) }

// Renew gives all callers their whole budgets.
func (s *Server) Renew() {
	for _, b := range append([]*Bucket{s.stranger}, s.budgets()...) {
		b.mu.Lock()
		b.spent = 0
		b.mu.Unlock()
	}
}

func (s *Server) budgets() (list []*Bucket) {
	for _, c := range s.byToken {
		list = append(list, c.budget)
	}
	return list
}
