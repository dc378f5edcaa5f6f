package facade

// text is a message for whoever runs a safe, in Portuguese and English.
type text struct{ pt, en string }

// String has both: the middleware's protocol names no language.
func (t text) String() string { return t.pt + " / " + t.en }

// Codes of errors (codigo_erro).
const (
	codeNotFound int64 = 543235 // the document's own
	codePath     int64 = 1001
	codePatch    int64 = 1002
	codeProvider int64 = 1003
	codeLate     int64 = 1004
	codeBusy     int64 = 1005
	codeStore    int64 = 1006
	codeUnknown  int64 = 1007
	codeNone     int64 = 1008
	codeInternal int64 = 1099
)

var (
	textNotFound = text{"ID não encontrado", "no such id"}
	textPath     = text{"Não há nada neste endereço", "there is nothing at this address"}
	textPatch    = text{"Só a resposta do provedor muda a situação de um pix", "only the provider's answer changes the status of a pix"}
	textProvider = text{"O provedor não gerou a cobrança; veja o registro do terminal", "the provider made no charge; see the terminal's log"}
	textLate     = text{"O código não chegou a tempo; a cobrança foi cancelada", "the code did not come in time; the charge is cancelled"}
	textNone     = text{"O provedor não dá códigos PIX; a cobrança foi cancelada", "the provider gives no PIX codes; the charge is cancelled"}
	textBusy     = text{"Terminal ocupado; nada foi feito, tente de novo", "the terminal is busy; nothing was done, try again"}
	textStore    = text{"O terminal não pode gravar; nada foi feito, chame um técnico", "the terminal cannot write; nothing was done, call a technician"}
	textUnknown  = text{"Não se sabe se a cobrança existe; ninguém viu o código dela", "it is not known whether the charge exists; nobody has seen its code"}
	textInternal = text{"Erro interno; veja o registro do terminal", "internal error; see the terminal's log"}

	textUnauthenticated = text{"Token ausente, vencido ou desconhecido", "the token is missing, over or unknown"}
	textClient          = text{"client_id ou client_secret errado", "client_id or client_secret is wrong"}
	textGrant           = text{"grant_type deve ser client_credentials", "grant_type must be client_credentials"}
	textRate            = text{"Pedidos demais; espere", "too many requests; wait"}
	textMethod          = text{"Use POST", "use POST"}
	textJSON            = text{"Envie um objeto JSON com Content-Type: application/json", "send a JSON object with Content-Type: application/json"}
	textLarge           = text{"O pedido passa de 16 KiB", "the request has more than 16 KiB"}
	textCut             = text{"O pedido veio cortado", "the request is cut off"}

	textInvalid     = text{"Há campos inválidos", "some fields are invalid"}
	textMissing     = text{"é obrigatório e deve ser texto", "is required, and must be text"}
	textLong        = text{"é longo demais", "is too long"}
	textUnprintable = text{"tem caracteres que não se imprimem", "has characters that cannot be printed"}
	textAmount      = text{"deve ter dois decimais depois de um ponto, como 150.50", "must have two decimals after a dot, such as 150.50"}
	textLimits      = text{"está fora dos limites do terminal", "is outside the terminal's limits"}
	textKey         = text{"não é a chave PIX deste cliente", "is not this client's PIX key"}
	textAccount     = text{"não é a conta deste cliente", "is not this client's account"}
	textExpiry      = text{
		"deve ser uma data como 2026-06-21T16:15:59, de 10 segundos a 24 horas depois da hora do terminal",
		"must be a date such as 2026-06-21T16:15:59, from 10 seconds to 24 hours after the terminal's time",
	}
	textEmail    = text{"não é um e-mail", "is not an e-mail address"}
	textDocument = text{"deve ser um CPF ou CNPJ válido, sem pontuação", "must be a valid CPF or CNPJ without punctuation"}
	textState    = text{"deve ter duas letras", "must be two letters"}
	textPostcode = text{"deve ter oito algarismos", "must be eight digits"}
)
