package operator

import (
	"errors"
	"strings"

	"github.com/ssg-safe/agent/display"
)

// texts is everything an operator reads on the menu, in one language. Names are
// short: with their values they go into 32 columns.
type texts struct {
	login, menu                       string
	views                             map[View]string
	roles                             map[Role]string
	askNumber, askPIN, wrong          string
	locked, tryAgain, unlocked, wait  string
	keyNames                          map[hintKey]display.Choice
	amount, when, state, charge, slip string
	paidState, pendingState           string
	partReturned, returned            string
	noSlips, askFirst, askCopy        string
	printing, printingCopy, settled   string
	unfound, released, openCharges    string
	tickets, overdues, until          string
	online, offline, left             string
	noLetters, unsure, unprinted      string
	printIt, printCopy, giveUp        string
	askDrop                           string
	slipKinds                         map[string]string
	merchant, date, receivedSum       string
	printX, closeZ, askZ, closed      string
	paid, late, extra, mismatch       string
	refunded, created, expired        string
	unmatched                         string
	cancelled, failed                 string
	examining, examined, examinedAt   string
	ago, examineAgain                 string
	faults                            map[error]string
	unknownFault                      string
}

// hintKey is a key at the foot of a page.
type hintKey int

const (
	keyNext hintKey = iota
	keyConfirm
	keyCorrect
	keyLeave
	keyBack
	keyPrevious
	keyMore
)

var portuguese = texts{
	login: "Acesso do operador", menu: "Menu do operador",
	views: map[View]string{
		Slips: "Reimprimir", Waiting: "Pendências", Day: "Fechamento", Letters: "Papéis a decidir",
		State: "Estado", Settings: "Configuração", Examine: "Diagnóstico",
	},
	roles:     map[Role]string{Attendant: "atendente", Supervisor: "supervisão", Technician: "técnica"},
	askNumber: "Digite o seu número de operador.", askPIN: "Digite o seu PIN.",
	wrong:  "Número ou PIN incorreto.",
	locked: "Acesso bloqueado: o PIN foi digitado errado várias vezes.", tryAgain: "Tente de novo em",
	unlocked: "O bloqueio terminou. Tente de novo.", wait: "Aguarde um instante",
	keyNames: map[hintKey]display.Choice{
		keyNext: {Key: "ENTER", Does: "Continuar"}, keyConfirm: {Key: "ENTER", Does: "Confirmar"}, keyCorrect: {Key: "←", Does: "Corrigir"},
		keyLeave: {Key: "ESC", Does: "Sair"}, keyBack: {Key: "ESC", Does: "Voltar"},
		keyPrevious: {Key: "8", Does: "Anterior"}, keyMore: {Key: "9", Does: "Próxima"},
	},
	amount: "Valor", when: "Quando", state: "Situação", charge: "Cobrança", slip: "Papel",
	paidState: "paga", pendingState: "pendente", partReturned: "devolvida em parte", returned: "devolvida",
	noSlips: "Nenhuma cobrança com papel a imprimir.", askFirst: "Imprimir o comprovante?", askCopy: "Imprimir a %dª via?",
	printing: "Enviado à impressora: NSU %06d.", printingCopy: "Enviado à impressora: NSU %06d, %dª via.", settled: "Feito.",
	unfound: "A confirmar", released: "Liberado sem confirmação", openCharges: "Cobranças abertas",
	tickets: "Chamados", overdues: "%d, vencidos: %d", until: "até %s",
	online: "aguarda", offline: "sem conexão", left: "liberada",
	noLetters: "Nenhum papel espera uma decisão.",
	unsure:    "Pode ter saído. Confira o papel antes de decidir.", unprinted: "Não saiu.",
	printIt: "Imprimir", printCopy: "Imprimir como 2ª via", giveUp: "Desistir deste papel",
	askDrop:   "Desistir? Ele não será mais impresso.",
	slipKinds: map[string]string{"qr": "código PIX", "receipt": "comprovante", "closing": "fechamento"},
	merchant:  "Loja", date: "Dia", receivedSum: "Recebido",
	printX: "Imprimir X", closeZ: "Fechar o dia: Z %d", askZ: "Fechar agora? Não pode ser desfeito.", closed: "Fechamento %d registrado.",
	paid: "pagas", late: "pagas tarde", extra: "em dobro", mismatch: "divergentes", refunded: "devolvidas", unmatched: "devoluções a conferir", created: "criadas",
	expired: "expiradas", cancelled: "canceladas", failed: "falhas",
	examining: "em andamento", examined: "pronto", examinedAt: "Examinado", ago: "há %s", examineAgain: "Examinar de novo",
	faults: map[error]string{
		ErrNoPrinter: "Não há impressora.", ErrNothingToPrint: "Não há o que imprimir para esta cobrança.",
		ErrSlipWaits:      "Um papel desta cobrança já espera pela impressora ou por uma decisão.",
		ErrBusy:           "O terminal está ocupado. Tente de novo em instantes.",
		ErrNothingToClose: "Nada aconteceu desde o último fechamento.", ErrGone: "Isto já foi resolvido.",
		ErrFull: "A memória do terminal está cheia: nada foi feito.",
	},
	unknownFault: "Não foi possível. Veja o registro do agente.",
}

var english = texts{
	login: "Operator access", menu: "Operator menu",
	views: map[View]string{
		Slips: "Print again", Waiting: "Pending", Day: "Closing", Letters: "Slips to decide",
		State: "State", Settings: "Configuration", Examine: "Diagnosis",
	},
	roles:     map[Role]string{Attendant: "attendant", Supervisor: "supervisor", Technician: "technician"},
	askNumber: "Type your operator number.", askPIN: "Type your PIN.",
	wrong:  "Wrong number or PIN.",
	locked: "Access is locked: the PIN was typed wrong several times.", tryAgain: "Try again in",
	unlocked: "The lock is over. Try again.", wait: "One moment, please",
	keyNames: map[hintKey]display.Choice{
		keyNext: {Key: "ENTER", Does: "Next"}, keyConfirm: {Key: "ENTER", Does: "Confirm"}, keyCorrect: {Key: "←", Does: "Correct"},
		keyLeave: {Key: "ESC", Does: "Leave"}, keyBack: {Key: "ESC", Does: "Back"},
		keyPrevious: {Key: "8", Does: "Previous"}, keyMore: {Key: "9", Does: "Next"},
	},
	amount: "Amount", when: "When", state: "State", charge: "Charge", slip: "Slip",
	paidState: "paid", pendingState: "pending", partReturned: "refunded in part", returned: "refunded",
	noSlips: "No charge has a slip to print.", askFirst: "Print the receipt?", askCopy: "Print copy %d?",
	printing: "Sent to the printer: NSU %06d.", printingCopy: "Sent to the printer: NSU %06d, copy %d.", settled: "Done.",
	unfound: "To confirm", released: "Released unconfirmed", openCharges: "Open charges",
	tickets: "Tickets", overdues: "%d, overdue: %d", until: "by %s",
	online: "waits", offline: "offline", left: "released",
	noLetters: "No slip waits for a decision.",
	unsure:    "It may be on the paper. Look before you decide.", unprinted: "It was not printed.",
	printIt: "Print it", printCopy: "Print it as a copy", giveUp: "Give it up",
	askDrop:   "Give it up? It will not be printed any more.",
	slipKinds: map[string]string{"qr": "PIX code", "receipt": "receipt", "closing": "closing"},
	merchant:  "Shop", date: "Day", receivedSum: "Received",
	printX: "Print X", closeZ: "Close the day: Z %d", askZ: "Close now? It cannot be undone.", closed: "Closing %d is recorded.",
	paid: "paid", late: "paid late", extra: "twice", mismatch: "mismatched", refunded: "refunded", unmatched: "refunds to check", created: "created",
	expired: "expired", cancelled: "cancelled", failed: "failed",
	examining: "running", examined: "ready", examinedAt: "Examined", ago: "%s ago", examineAgain: "Examine again",
	faults: map[error]string{
		ErrNoPrinter: "There is no printer.", ErrNothingToPrint: "There is nothing to print for this charge.",
		ErrSlipWaits:      "A slip of this charge waits for the printer or for a decision.",
		ErrBusy:           "The terminal is busy. Try again in a moment.",
		ErrNothingToClose: "Nothing has happened since the last closing.", ErrGone: "This was settled already.",
		ErrFull: "The terminal's memory is full: nothing was done.",
	},
	unknownFault: "It was not possible. See the agent's log.",
}

// locale returns the texts of "pt-BR" or "en"; pt-BR for anything else.
func locale(name string) *texts {
	if name == "en" || strings.HasPrefix(name, "en-") {
		return &english
	}
	return &portuguese
}

func (t *texts) chargeState(s Slip) string {
	switch {
	case !s.Paid:
		return t.pendingState
	case s.Refunded == 0:
		return t.paidState
	case s.Refunded < s.Amount:
		return t.partReturned
	}
	return t.returned
}

// fault is what is said of an error.
func (t *texts) fault(err error) string {
	for known, text := range t.faults {
		if errors.Is(err, known) {
			return text
		}
	}
	return t.unknownFault
}

// keys are the keys at the foot of a page.
func (m *Menu) keys(names ...hintKey) []display.Choice {
	var out []display.Choice
	for _, n := range names {
		out = append(out, m.t.keyNames[n])
	}
	return out
}
