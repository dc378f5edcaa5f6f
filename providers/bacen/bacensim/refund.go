package bacensim

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"time"

	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/simkit"
)

// NotDone is this simulator's own fault on the route refund: the refund is taken, and
// ends as NAO_REALIZADO.
const NotDone = "not_done"

// Refund is a payment, or a part of one, that is given back.
type Refund struct {
	ID       string       `json:"id"`
	EndToEnd string       `json:"endToEndId"`
	Amount   money.Amount `json:"centavos"`
	At       time.Time    `json:"horario"`
	Due      time.Time    `json:"due"`
	Fails    bool         `json:"fails,omitempty"`
}

// word is the state at a time.
func (r Refund) word(now time.Time) string {
	switch {
	case now.Before(r.Due):
		return "EM_PROCESSAMENTO"
	case r.Fails:
		return "NAO_REALIZADO"
	}
	return "DEVOLVIDO"
}

// Refunds returns all refunds that were taken, oldest first.
func (s *Sim) Refunds() []Refund {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Refund{}, s.refunds...)
}

// Refunded is what was, or will be, given back of all payments.
func (s *Sim) Refunded() money.Amount {
	var sum money.Amount
	for _, r := range s.Refunds() {
		if !r.Fails {
			sum += r.Amount
		}
	}
	return sum
}

// row is a received Pix as the API shows it, with its refunds. s.mu is held.
func (s *Sim) row(p Pix) map[string]any {
	out := row(p)
	var back []map[string]any
	for _, r := range s.refunds {
		if r.EndToEnd == p.EndToEnd {
			back = append(back, s.refundRow(r))
		}
	}
	if back != nil {
		out["devolucoes"] = back
	}
	return out
}

func (s *Sim) refundRow(r Refund) map[string]any {
	when := map[string]any{"solicitacao": stamp(r.At)}
	word := r.word(time.Now())
	if word == "DEVOLVIDO" {
		when["liquidacao"] = stamp(r.Due)
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "rtr %d %s %s", s.opts.Seed, r.EndToEnd, r.ID))
	return map[string]any{
		"id": r.ID, "rtrId": "D00000000" + r.At.UTC().Format("200601021504") + hex.EncodeToString(sum[:])[:11],
		"valor": r.Amount.String(), "horario": when, "status": word,
	}
}

var refundID = regexp.MustCompile(`^[a-zA-Z0-9]{1,35}$`)

// receivedPix finds a payment by its end-to-end id. s.mu is held.
func (s *Sim) receivedPix(endToEnd string) (Pix, bool) {
	for _, p := range s.received(time.Now(), "") {
		if p.EndToEnd == endToEnd {
			return p, true
		}
	}
	return Pix{}, false
}

func refuseRefund(why string) simkit.Answer {
	return refuse(http.StatusBadRequest, "PixDevolucaoInvalida", "Devolução inválida.", "A presente requisição de devolução não respeita o schema ou não faz sentido semanticamente.",
		violation{why, "devolucao.valor"})
}

// refund is PUT /pix/{e2eid}/devolucao/{id}. The same again is answered as it stands.
func (s *Sim) refund(r *http.Request, f simkit.Faults) simkit.Answer {
	text, err := io.ReadAll(io.LimitReader(r.Body, providers.MaxBody))
	var in struct {
		Amount string `json:"valor"`
	}
	id := r.PathValue("id")
	if err != nil || json.Unmarshal(text, &in) != nil || !amountForm.MatchString(in.Amount) || !refundID.MatchString(id) {
		return refuseRefund("O campo não respeita o schema.")
	}
	amount, err := money.Parse(in.Amount)
	if err != nil || amount <= 0 {
		return refuseRefund("O valor é zero.")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.receivedPix(r.PathValue("e2eid"))
	if !ok {
		return refuse(http.StatusNotFound, "PixNaoEncontrado", "Pix não encontrado.", "Pix não encontrado.")
	}
	left := p.Amount
	for _, old := range s.refunds {
		switch {
		case old.EndToEnd != p.EndToEnd:
		case old.ID == id && (s.opts.Modes.RefuseAgain || old.Amount != amount):
			return refuseRefund("O id já pertence a outra devolução.")
		case old.ID == id:
			return s.answered(old, f)
		case !old.Fails:
			left -= old.Amount
		}
	}
	if amount > left {
		return refuseRefund("O valor excede o que resta do Pix.")
	}
	now := time.Now().UTC()
	rec := record{Op: "refund", TxID: id, E2E: p.EndToEnd, Amount: amount, Due: now.Add(s.opts.RefundAfter), Fails: f.Has(NotDone)}
	if err := s.record(rec); err != nil {
		return refusal(http.StatusInternalServerError)
	}
	return s.answered(s.refunds[len(s.refunds)-1], f)
}

func (s *Sim) answered(r Refund, f simkit.Faults) simkit.Answer {
	body := s.refundRow(r)
	if f.Has(simkit.Word) {
		body["status"] = f[simkit.Word]
	}
	if f.Has(simkit.Echo) {
		body["id"] = "ECHO"
	}
	return simkit.JSON(http.StatusCreated, body)
}

// getRefund is GET /pix/{e2eid}/devolucao/{id}.
func (s *Sim) getRefund(r *http.Request, f simkit.Faults) simkit.Answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, old := range s.refunds {
		if old.EndToEnd == r.PathValue("e2eid") && old.ID == r.PathValue("id") {
			a := s.answered(old, f)
			a.Status = http.StatusOK
			return a
		}
	}
	return refuse(http.StatusNotFound, "PixDevolucaoNaoEncontrada", "Devolução não encontrada.", "Devolução não encontrada para o e2eid e o id informados.")
}
