package bacensim

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/simkit"
)

func (s *Sim) routes() {
	s.mux = http.NewServeMux()
	serve := func(pattern, route string, work func(*http.Request, simkit.Faults) simkit.Answer) {
		s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			s.Serve(route, w, r, func(f simkit.Faults) simkit.Answer {
				shown := certificate(r)
				if s.opts.Certificates && shown == "" {
					return refusal(http.StatusForbidden)
				}
				if route != RouteToken {
					value, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
					holds, refunds := s.authorised(value, shown)
					switch {
					case !ok || !holds:
						return refusal(http.StatusUnauthorized)
					case route == RouteRefund && !refunds:
						return refusal(http.StatusForbidden)
					}
				}
				return work(r, f)
			})
		})
	}
	serve("POST /oauth/token", RouteToken, s.token)
	serve("PUT /cob/{txid}", RouteCreate, s.create)
	serve("GET /cob/{txid}", RouteStatus, s.status)
	serve("PATCH /cob/{txid}", RouteCancel, s.cancel)
	serve("GET /pix", RoutePix, s.list)
	serve("GET /pix/{e2eid}", RoutePix, s.one)
	serve("PUT /pix/{e2eid}/devolucao/{id}", RouteRefund, s.refund)
	serve("GET /pix/{e2eid}/devolucao/{id}", RouteRefund, s.getRefund)
	s.Control(s.mux, s)
	simkit.Show(s.mux, "/sim/refunds", func() any { return s.Refunds() })
	simkit.Show(s.mux, "/sim/state", func() any { return s.State() })
	simkit.Show(s.mux, "/sim/pix", func() any { return s.Received() })
	simkit.Act(s.mux, "POST /sim/pix", s.pay)
	simkit.Act(s.mux, "POST /sim/tokens/revoke", func(*http.Request) error { return s.RevokeTokens() })
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.Missing(w, r, refusal(http.StatusNotFound))
	})
}

// ServeHTTP serves the bank's API and the control routes.
func (s *Sim) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// certificate is the SHA-256 of the client certificate of a request; empty:
// none.
func certificate(r *http.Request) string {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return ""
	}
	h := sha256.Sum256(r.TLS.PeerCertificates[0].Raw)
	return hex.EncodeToString(h[:])
}

// problem is an error body, RFC 7807 with the standard's violations.
type problem struct {
	Type       string      `json:"type"`
	Title      string      `json:"title"`
	Status     int         `json:"status"`
	Detail     string      `json:"detail"`
	Violations []violation `json:"violacoes,omitempty"`
}

type violation struct {
	Reason   string `json:"razao"`
	Property string `json:"propriedade"`
}

// refusal is the error body that belongs to a status.
func refusal(status int) simkit.Answer {
	switch status {
	case http.StatusForbidden:
		return refuse(status, "AcessoNegado", "Acesso Negado", "Requisição de participante autenticado que viola alguma regra de autorização.")
	case http.StatusNotFound:
		return refuse(status, "NaoEncontrado", "Não Encontrado", "Entidade não encontrada.")
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		return refuse(status, "CobOperacaoInvalida", "Cobrança inválida.", "A requisição que busca alterar ou criar uma cobrança para pagamento imediato não respeita o schema ou está semanticamente errada.")
	case http.StatusServiceUnavailable:
		return refuse(status, "ServicoIndisponivel", "Serviço Indisponível", "Serviço não está disponível no momento.")
	case http.StatusInternalServerError:
		return refuse(status, "ErroInternoDoServidor", "Erro Interno do Servidor", "Condição inesperada ao processar requisição.")
	}
	return refuse(status, "", http.StatusText(status), "")
}

func refuse(status int, kind, title, detail string, why ...violation) simkit.Answer {
	p := problem{Type: "about:blank", Title: title, Status: status, Detail: detail, Violations: why}
	if kind != "" {
		p.Type = "https://pix.bcb.gov.br/api/v2/error/" + kind
	}
	a := simkit.JSON(status, p)
	a.Header.Set("Content-Type", "application/problem+json")
	return a
}

func (s *Sim) token(r *http.Request, _ simkit.Faults) simkit.Answer {
	fail := func(status int, code string) simkit.Answer {
		return simkit.JSON(status, map[string]string{"error": code, "error_description": "Requisição recusada pelo servidor de autorização."})
	}
	text, err := io.ReadAll(io.LimitReader(r.Body, providers.MaxBody))
	form, formErr := url.ParseQuery(string(text))
	kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	if err != nil || formErr != nil || kind != "application/x-www-form-urlencoded" {
		return fail(http.StatusBadRequest, "invalid_request")
	}
	id, secret, basic := r.BasicAuth()
	if !basic {
		id, secret = form.Get("client_id"), form.Get("client_secret")
	}
	switch {
	case !s.knows(id, secret):
		return fail(http.StatusUnauthorized, "invalid_client")
	case form.Get("grant_type") != "client_credentials":
		return fail(http.StatusBadRequest, "unsupported_grant_type")
	}
	refunds := false
	for _, scope := range strings.Fields(form.Get("scope")) {
		switch scope {
		case "cob.read", "cob.write", "pix.read":
		case "pix.write":
			if refunds = s.opts.Modes.Refunds; !refunds { // this client only receives
				return fail(http.StatusBadRequest, "invalid_scope")
			}
		default:
			return fail(http.StatusBadRequest, "invalid_scope")
		}
	}
	value, life, err := s.newToken(certificate(r), refunds)
	if err != nil {
		return refusal(http.StatusInternalServerError)
	}
	return simkit.JSON(http.StatusOK, map[string]any{
		"access_token": value, "token_type": "Bearer", "expires_in": int64(life / time.Second), "scope": form.Get("scope"),
	})
}

var (
	dynamicID  = regexp.MustCompile(`^[a-zA-Z0-9]{26,35}$`)
	amountForm = regexp.MustCompile(`^\d{1,10}\.\d{2}$`)
	cpfForm    = regexp.MustCompile(`^\d{11}$`)
	cnpjForm   = regexp.MustCompile(`^[0-9A-Z]{14}$`)
)

// asked is the body of a PUT.
type asked struct {
	Calendar struct {
		Expiry *int64 `json:"expiracao"`
	} `json:"calendario"`
	Debtor *struct {
		CPF  string `json:"cpf"`
		CNPJ string `json:"cnpj"`
		Name string `json:"nome"`
	} `json:"devedor"`
	Value struct {
		Original string `json:"original"`
	} `json:"valor"`
	Key  string `json:"chave"`
	Text string `json:"solicitacaoPagador"`
}

// violations are what is wrong with a request.
func (in asked) violations() []violation {
	var all []violation
	wrong := func(property, reason string) { all = append(all, violation{reason, property}) }
	if in.Calendar.Expiry != nil && (*in.Calendar.Expiry < 1 || *in.Calendar.Expiry > 1<<31-1) {
		wrong("cob.calendario.expiracao", "O campo é menor do que 1 ou grande demais.")
	}
	if d := in.Debtor; d != nil {
		if (d.CPF == "") == (d.CNPJ == "") || d.CPF != "" && !cpfForm.MatchString(d.CPF) || d.CNPJ != "" && !cnpjForm.MatchString(d.CNPJ) {
			wrong("cob.devedor", "Quer um CPF ou um CNPJ, e não os dois.")
		}
		if d.Name == "" || utf8.RuneCountInString(d.Name) > 200 {
			wrong("cob.devedor.nome", "O campo é obrigatório e tem até 200 caracteres.")
		}
	}
	if !amountForm.MatchString(in.Value.Original) || strings.Trim(in.Value.Original, "0.") == "" {
		wrong("cob.valor.original", "O campo não respeita o schema ou é zero.")
	}
	if in.Key == "" || len(in.Key) > 77 {
		wrong("cob.chave", "O campo não corresponde a uma chave do usuário recebedor.")
	}
	if utf8.RuneCountInString(in.Text) > 140 {
		wrong("cob.solicitacaoPagador", "O campo tem mais de 140 caracteres.")
	}
	return all
}

func (s *Sim) create(r *http.Request, f simkit.Faults) simkit.Answer {
	txid := r.PathValue("txid")
	text, err := io.ReadAll(io.LimitReader(r.Body, providers.MaxBody))
	var in asked
	if err != nil || json.Unmarshal(text, &in) != nil {
		return refusal(http.StatusBadRequest)
	}
	why := in.violations()
	if !dynamicID.MatchString(txid) {
		why = append(why, violation{"O txid não respeita o schema.", "txid"})
	}
	if len(why) > 0 {
		return refuse(http.StatusBadRequest, "CobOperacaoInvalida", "Cobrança inválida.", "A requisição não respeita o schema.", why...)
	}
	amount, err := money.Parse(in.Value.Original)
	if err != nil {
		return refusal(http.StatusInternalServerError)
	}
	expiry := 24 * time.Hour
	if in.Calendar.Expiry != nil {
		expiry = time.Duration(*in.Calendar.Expiry) * time.Second
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	status := http.StatusCreated
	switch c := s.charges[txid]; {
	case c != nil && (s.opts.Modes.RefuseAgain || c.request != digest(string(text))):
		return refuse(http.StatusConflict, "CobOperacaoInvalida", "Cobrança inválida.", "O txid já pertence a outra cobrança.")
	case c != nil:
		status = http.StatusOK
	default:
		path := "/qr/v2/" + digest(fmt.Sprint("location ", s.opts.Seed, txid))[:32]
		if err := s.record(record{Op: "cob", TxID: txid, Request: digest(string(text)), Amount: amount, Key: in.Key, Expiry: expiry, Path: path}); err != nil {
			return refusal(http.StatusInternalServerError)
		}
	}
	body := s.body(s.charges[txid])
	if f.Has(simkit.Code) {
		body["pixCopiaECola"] = s.payee.Spoiled(f[simkit.Code], s.charges[txid].path, amount, in.Key)
	}
	return simkit.JSON(status, body)
}

// body is a cob as the API shows it. s.mu is held.
func (s *Sim) body(c *charge) map[string]any {
	location := s.payee.Host + c.path
	body := map[string]any{
		"txid": c.txid, "revisao": c.revision, "status": "ATIVA", "chave": c.key, "location": location,
		"loc":        map[string]any{"id": 1, "location": location, "tipoCob": "cob"},
		"calendario": map[string]any{"criacao": stamp(c.created), "expiracao": int64(c.expiry / time.Second)},
		"valor":      map[string]any{"original": c.amount.String(), "modalidadeAlteracao": 0},
	}
	if !s.opts.Modes.NoCode {
		body["pixCopiaECola"] = s.payee.Code(c.path, c.amount)
	}
	if c.removed {
		body["status"] = "REMOVIDA_PELO_USUARIO_RECEBEDOR"
	}
	if received := s.received(time.Now(), c.txid); len(received) > 0 {
		body["status"] = "CONCLUIDA"
		var rows []map[string]any
		for _, p := range received {
			rows = append(rows, s.row(p))
		}
		body["pix"] = rows
	}
	return body
}

func row(p Pix) map[string]any {
	out := map[string]any{"endToEndId": p.EndToEnd, "valor": p.Amount.String(), "horario": stamp(p.At)}
	if p.TxID != "" {
		out["txid"] = p.TxID
	}
	return out
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func (s *Sim) status(r *http.Request, f simkit.Faults) simkit.Answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.charges[r.PathValue("txid")]
	if c == nil {
		return refusal(http.StatusNotFound)
	}
	if err := s.look(c); err != nil {
		return refusal(http.StatusInternalServerError)
	}
	body := s.body(c)
	if f.Has(simkit.Word) {
		body["status"] = f[simkit.Word]
	}
	if f.Has(simkit.Echo) {
		body["txid"] = "ECHO0000000000000000000000000"
	}
	return simkit.JSON(http.StatusOK, body)
}

func (s *Sim) cancel(r *http.Request, _ simkit.Faults) simkit.Answer {
	text, err := io.ReadAll(io.LimitReader(r.Body, providers.MaxBody))
	var in struct {
		Status string `json:"status"`
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields() // the other changes that the standard allows are not simulated
	if err != nil || d.Decode(&in) != nil || in.Status != "REMOVIDA_PELO_USUARIO_RECEBEDOR" {
		return refusal(http.StatusBadRequest)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.charges[r.PathValue("txid")]
	switch {
	case c == nil:
		return refusal(http.StatusNotFound)
	case c.removed || len(s.received(time.Now(), c.txid)) > 0:
		return refuse(http.StatusBadRequest, "CobOperacaoInvalida", "Cobrança inválida.", "A cobrança não está ativa.")
	}
	if err := s.record(record{Op: "removed", TxID: c.txid}); err != nil {
		return refusal(http.StatusInternalServerError)
	}
	return simkit.JSON(http.StatusOK, s.body(c))
}

func (s *Sim) list(r *http.Request, f simkit.Faults) simkit.Answer {
	query := r.URL.Query()
	var why []violation
	when := func(name string) time.Time {
		t, err := time.Parse(time.RFC3339, query.Get(name))
		if err != nil {
			why = append(why, violation{"O parâmetro é obrigatório e segue a RFC 3339.", name})
		}
		return t
	}
	count := func(name string, least, most, standard int) int {
		text := query.Get(name)
		if text == "" {
			return standard
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < least || n > most {
			why = append(why, violation{"O parâmetro não respeita o schema.", name})
		}
		return n
	}
	from, to := when("inicio"), when("fim")
	number, size := count("paginacao.paginaAtual", 0, 1<<20, 0), count("paginacao.itensPorPagina", 1, 1000, 100)
	if len(why) == 0 && to.Before(from) {
		why = append(why, violation{"O timestamp representado pelo parâmetro fim é anterior ao representado pelo parâmetro inicio.", "fim"})
	}
	if len(why) > 0 {
		return refuse(http.StatusBadRequest, "PixConsultaInvalida", "Consulta inválida.", "Os parâmetros de consulta à lista de Pix recebidos não respeitam o schema.", why...)
	}
	txid := query.Get("txid")
	if s.opts.Modes.IgnoreTxID {
		txid = ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	rows := []map[string]any{}
	for _, p := range s.received(time.Now(), txid) {
		if !p.At.Before(from) && !p.At.After(to) {
			rows = append(rows, s.row(p))
		}
	}
	total := len(rows)
	first := number * size
	if f.Has(Drift) {
		first -= number
	}
	if f.Has(Skip) {
		first += number
	}
	rows = rows[min(first, total):min(first+size, total)]
	return simkit.JSON(http.StatusOK, map[string]any{
		"parametros": map[string]any{
			"inicio": query.Get("inicio"), "fim": query.Get("fim"),
			"paginacao": map[string]int{
				"paginaAtual": number, "itensPorPagina": size, "quantidadeDePaginas": (total + size - 1) / size, "quantidadeTotalDeItens": total,
			},
		},
		"pix": rows,
	})
}

func (s *Sim) one(r *http.Request, _ simkit.Faults) simkit.Answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p, ok := s.receivedPix(r.PathValue("e2eid")); ok {
		return simkit.JSON(http.StatusOK, s.row(p))
	}
	return refuse(http.StatusNotFound, "PixNaoEncontrado", "Pix não encontrado.", "Pix não encontrado.")
}

// pay is the control route that makes payments.
func (s *Sim) pay(r *http.Request) error {
	text, err := io.ReadAll(io.LimitReader(r.Body, providers.MaxBody))
	if err != nil {
		return err
	}
	var in struct {
		Code   string `json:"code"`
		TxID   string `json:"txid"`
		Amount string `json:"valor"`
	}
	if err := json.Unmarshal(text, &in); err != nil {
		return err
	}
	if in.Code != "" {
		return s.PayCode(in.Code)
	}
	amount, err := money.Parse(in.Amount)
	if err != nil {
		return errors.Join(ErrUnpayable, err)
	}
	return s.Receive(in.TxID, amount)
}

// State sums up the ledger.
type State struct {
	Charges     int          `json:"charges"`
	Sum         money.Amount `json:"sum"` // centavos, of all charges
	Paid        int          `json:"paid"`
	Received    int          `json:"received"` // Pix, those of static codes included
	ReceivedSum money.Amount `json:"received_sum"`
	Requests    int          `json:"requests"`
}

// State returns counts and sums as of now.
func (s *Sim) State() State {
	st := State{Requests: s.Log().Total()}
	for _, c := range s.Charges() {
		st.Charges++
		st.Sum += c.Amount
		if c.Status == providers.StatusPaid {
			st.Paid++
		}
	}
	for _, p := range s.Received() {
		st.Received++
		st.ReceivedSum += p.Amount
	}
	return st
}
