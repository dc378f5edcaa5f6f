package display

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// texts is everything a payer reads, in one language. Glyphs are limited to
// what the recommended console fonts have: no check mark, no ellipsis.
type texts struct {
	demo                         string
	network, printer, clock      string
	pending, unfound             string // after the count
	starting, startingFile       string
	idle, idleHint               string
	amount, amountHint           string
	min, max                     string
	creating, creatingHint       string
	scan, scanHint               string
	payee, reference, expiresIn  string
	usePrinted, usePrintedHint   string
	noRoom, noRoomHint           string
	elsewhere, elsewhereHint     string
	tooLate, doNotPayElsewhere   string
	verifying, verifyingHint     string
	paid, paidWord, confirmedAt  string
	takeReceipt                  string
	offline, held, heldHint      string
	released, keyClaim           string
	expired, expiredHint         string
	cancelled, cancelledHint     string
	doNotPay, discardPrinted     string
	failed, support, code        string
	unavailable, unavailableHint string
	tiny                         string
	keyConfirm, keyCancel        string
	keyCorrect, keyBack          string
	faults                       map[string]fault
	unknownFault                 fault
}

// fault is what an error code says: what happened and what to do.
type fault struct{ what, do string }

var portuguese = texts{
	demo:              "DEMONSTRAÇÃO",
	network:           "Rede",
	printer:           "Impressora",
	clock:             "Relógio",
	pending:           "a enviar",
	unfound:           "a confirmar",
	starting:          "Iniciando o terminal",
	startingFile:      "Preparando o armazenamento",
	idle:              "Pague com PIX",
	idleHint:          "Digite o valor para começar",
	amount:            "Qual é o valor?",
	amountHint:        "Digite os números e confirme",
	min:               "Mínimo",
	max:               "Máximo",
	creating:          "Gerando código",
	creatingHint:      "Aguarde um instante",
	scan:              "Pague com PIX",
	scanHint:          "Abra o aplicativo do seu banco, escolha PIX e aponte a câmera para o código.",
	payee:             "Para",
	reference:         "Referência",
	expiresIn:         "Expira em",
	usePrinted:        "Use o código impresso",
	usePrintedHint:    "Este código não cabe na tela. Aponte a câmera para o papel.",
	noRoom:            "O código não pode ser mostrado",
	noRoomHint:        "Ele não cabe nesta tela e não foi impresso. Chame um atendente.",
	elsewhere:         "Aguardando o pagamento",
	elsewhereHint:     "Pague na página ou no link do seu pedido. A confirmação aparece aqui.",
	tooLate:           "Tempo esgotado",
	verifying:         "Verificando pagamento",
	verifyingHint:     "Aguarde um instante. Não pague de novo.",
	paid:              "Pagamento confirmado",
	paidWord:          "PAGO",
	confirmedAt:       "Confirmado em",
	takeReceipt:       "Retire o seu comprovante",
	offline:           "Sem conexão com o banco: a confirmação vem depois.",
	held:              "Pagamento a confirmar",
	heldHint:          "Estamos sem conexão com o banco. Se você pagou, guarde o comprovante: o pagamento será confirmado quando a conexão voltar. Não pague de novo.",
	released:          "Liberado: pode retirar.",
	keyClaim:          "Já paguei",
	expired:           "Código expirado",
	expiredHint:       "Nenhum valor foi cobrado por este código até agora.",
	cancelled:         "Cobrança cancelada",
	cancelledHint:     "A cobrança foi encerrada.",
	doNotPay:          "Não pague este código",
	doNotPayElsewhere: "Não pague mais este pedido",
	discardPrinted:    "Descarte também o código impresso.",
	failed:            "Algo deu errado",
	support:           "Suporte",
	code:              "Código",
	unavailable:       "PIX indisponível",
	unavailableHint:   "No momento não é possível pagar com PIX. Use outra forma de pagamento ou chame um atendente.",
	tiny:              "Tela pequena demais",
	keyConfirm:        "Confirmar",
	keyCancel:         "Cancelar",
	keyCorrect:        "Corrigir",
	keyBack:           "Voltar ao início",
	unknownFault:      fault{"Não foi possível continuar.", "Tente de novo. Se o erro continuar, chame um atendente."},
	faults: map[string]fault{
		ErrNetwork:   {"Sem conexão com o banco.", "Tente de novo em alguns minutos ou use outra forma de pagamento."},
		ErrProvider:  {"O banco não aceitou a cobrança.", "Tente de novo. Se o erro continuar, chame um atendente."},
		ErrCode:      {"O código recebido do banco está incorreto e não será mostrado.", "Tente de novo. Se o erro continuar, chame um atendente."},
		ErrPayerData: {"Esta cobrança exige os dados do pagador.", "Chame um atendente."},
		ErrUncertain: {"Não sabemos ainda se a cobrança foi criada.", "Não pague códigos anteriores. Tente de novo."},
		ErrMismatch:  {"Recebemos um pagamento que não confere com a cobrança.", "Guarde o comprovante do seu banco e chame um atendente."},
		ErrStorage:   {"O terminal não consegue gravar a operação.", "Se você já pagou, guarde o comprovante do seu banco. Chame um atendente."},
		ErrFull:      {"A memória do terminal está cheia.", "Nada foi cobrado agora. Chame um atendente."},
		ErrPrinter:   {"A impressora não respondeu.", "Verifique o papel e a tampa ou chame um atendente."},
		ErrFit:       {"O código não cabe nesta tela e não há impressora.", "Chame um atendente."},
		ErrClock:     {"O relógio do terminal está incorreto.", "Chame um atendente."},
		ErrInternal:  {"O terminal encontrou uma falha interna.", "Tente de novo. Se o erro continuar, chame um atendente."},
	},
}

var english = texts{
	demo:              "DEMONSTRATION",
	network:           "Network",
	printer:           "Printer",
	clock:             "Clock",
	pending:           "to send",
	unfound:           "to confirm",
	starting:          "Starting the terminal",
	startingFile:      "Preparing the storage",
	idle:              "Pay with PIX",
	idleHint:          "Type the amount to begin",
	amount:            "What is the amount?",
	amountHint:        "Type the digits and confirm",
	min:               "Minimum",
	max:               "Maximum",
	creating:          "Making the code",
	creatingHint:      "One moment, please",
	scan:              "Pay with PIX",
	scanHint:          "Open your bank's app, choose PIX and point the camera at the code.",
	payee:             "To",
	reference:         "Reference",
	expiresIn:         "Expires in",
	usePrinted:        "Use the printed code",
	usePrintedHint:    "This code does not fit the screen. Point the camera at the paper.",
	noRoom:            "The code cannot be shown",
	noRoomHint:        "It does not fit this screen and was not printed. Please call staff.",
	elsewhere:         "Waiting for the payment",
	elsewhereHint:     "Pay on your order's page or link. The confirmation appears here.",
	tooLate:           "Time is up",
	verifying:         "Checking the payment",
	verifyingHint:     "One moment, please. Do not pay again.",
	paid:              "Payment confirmed",
	paidWord:          "PAID",
	confirmedAt:       "Confirmed on",
	takeReceipt:       "Take your receipt",
	offline:           "No connection to the bank: the confirmation comes later.",
	held:              "Payment to be confirmed",
	heldHint:          "There is no connection to the bank. If you have paid, keep your bank's receipt: the payment will be confirmed when the connection is back. Do not pay again.",
	released:          "Released: you can take it.",
	keyClaim:          "I have paid",
	expired:           "Code expired",
	expiredHint:       "Nothing has been charged through this code so far.",
	cancelled:         "Charge cancelled",
	cancelledHint:     "The charge was called off.",
	doNotPay:          "Do not pay this code",
	doNotPayElsewhere: "Do not pay this order any more",
	discardPrinted:    "Throw the printed code away, too.",
	failed:            "Something went wrong",
	support:           "Support",
	code:              "Code",
	unavailable:       "PIX is not available",
	unavailableHint:   "It is not possible to pay with PIX now. Use another means of payment or call staff.",
	tiny:              "Screen too small",
	keyConfirm:        "Confirm",
	keyCancel:         "Cancel",
	keyCorrect:        "Correct",
	keyBack:           "Back to the start",
	unknownFault:      fault{"It was not possible to go on.", "Try again. If the error stays, call staff."},
	faults: map[string]fault{
		ErrNetwork:   {"No connection to the bank.", "Try again in some minutes or use another means of payment."},
		ErrProvider:  {"The bank did not accept the charge.", "Try again. If the error stays, call staff."},
		ErrCode:      {"The code received from the bank is wrong and will not be shown.", "Try again. If the error stays, call staff."},
		ErrPayerData: {"This charge requires the payer's data.", "Please call staff."},
		ErrUncertain: {"It is not known yet whether the charge was made.", "Do not pay earlier codes. Try again."},
		ErrMismatch:  {"A payment arrived that does not match the charge.", "Keep your bank's receipt and call staff."},
		ErrStorage:   {"The terminal cannot record the operation.", "If you have paid, keep your bank's receipt. Please call staff."},
		ErrFull:      {"The terminal's memory is full.", "Nothing was charged now. Please call staff."},
		ErrPrinter:   {"The printer does not answer.", "Check paper and cover or call staff."},
		ErrFit:       {"The code does not fit this screen, and there is no printer.", "Please call staff."},
		ErrClock:     {"The terminal's clock is wrong.", "Please call staff."},
		ErrInternal:  {"The terminal has an internal fault.", "Try again. If the error stays, call staff."},
	},
}

// locale returns the texts of "pt-BR" or "en"; pt-BR for anything else.
func locale(name string) *texts {
	if name == "en" || strings.HasPrefix(name, "en-") {
		return &english
	}
	return &portuguese
}

// clean makes text from outside fit for cells: composed accents, one cell a
// rune, nothing that moves the cursor. Names on BR Codes are Latin; what else a
// provider may send shows as a question mark.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case unicode.In(r, unicode.C, unicode.M, unicode.Zl, unicode.Zp):
			return -1
		case r < 0x250, strings.ContainsRune("–—‘’“”•€←", r):
			return r
		}
		return '?'
	}, norm.NFC.String(s))
}
