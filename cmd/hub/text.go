package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/ssg-safe/agent/hub"
)

// What operators read on tables and alarms is Portuguese unless it is English. Help,
// errors, the log and whatever --json prints are in neither's hands: scripts and
// engineers read them.

const (
	localePT = "pt-BR"
	localeEN = "en"
)

// envLocale is the language that the environment asks for.
func envLocale() string {
	for _, name := range []string{"LC_ALL", "LC_MESSAGES", "LANG"} {
		if v := os.Getenv(name); v != "" {
			if strings.HasPrefix(v, "en") {
				return localeEN
			}
			return localePT
		}
	}
	return localePT
}

// say is a text in the operator's language, by its English. One that is not in the
// table stays English.
func (g *globals) say(english string) string {
	if g.locale == localePT {
		if text, ok := portuguese[english]; ok {
			return text
		}
	}
	return english
}

// advice is what an alarm means and what a person does next.
type advice struct{ what, remedy string }

// advise is the advice about an alarm; the English what is what the hub recorded, which
// may say more.
func (g *globals) advise(a hub.Alarm) advice {
	table := alarmsEnglish
	if g.locale == localePT {
		table = alarmsPortuguese
	}
	text, ok := table[a.Kind]
	if !ok && strings.HasPrefix(a.Kind, "device.") {
		text = table["device."]
	}
	if text.what == "" || g.locale != localePT {
		text.what = a.Text
	} else if strings.Contains(text.what, "%s") {
		text.what = fmt.Sprintf(text.what, strings.TrimPrefix(a.Kind, "device."))
	}
	if strings.Contains(text.remedy, "%s") {
		text.remedy = fmt.Sprintf(text.remedy, a.Device)
	}
	return text
}

var portuguese = map[string]string{
	"no alarms": "nenhum alarme", "do: ": "o que fazer: ", "taken care of by %s at %s": "tratado por %s em %s",
	"warn": "aviso", "alarm": "alarme", "info": "informação",

	"no payouts": "nenhum pagamento", "no refunds": "nenhuma devolução", "no webhooks": "nenhum webhook",
	"ID\tMADE\tPROVIDER\tAMOUNT\tSTATE\tPROPOSED BY\tAPPROVED BY": "ID\tCRIADO\tPROVEDOR\tVALOR\tSITUAÇÃO\tPROPOSTO POR\tAPROVADO POR",
	"nobody": "ninguém", "%s of %d": "%s de %d", "digest": "resumo",
	"awaiting_approval": "aguarda aprovação", "approved": "aprovado", "rejected": "rejeitado", "submitting": "sendo enviado", "unknown": "desfecho desconhecido",
	"processing": "em processamento", "settled": "liquidado", "failed": "falhou", "returned": "voltou", "ticket": "à mão, por uma pessoa",
	"(contradicted)": "(contradito)",
	"id":             "id", "state": "situação", "amount": "valor", "provider": "provedor", "merchant": "lojista", "to": "para", "terminal": "terminal",
	"terminal's reference": "referência do terminal", "terminal's entry": "lançamento do terminal",
	"charge": "cobrança", "payment": "recebimento", "proposed by": "proposto por", "approved by": "aprovado por", "approvals needed": "aprovações necessárias",
	"provider's id": "id no provedor", "end-to-end id": "id ponta a ponta", "reason": "motivo", "erased": "apagado",
	"made by": "feita por", "a person, in the provider's panel": "uma pessoa, no painel do provedor",
	"in order: %d payouts and refunds, %d facts, head %s": "em ordem: %d pagamentos e devoluções, %d fatos, fim %s",

	"ok: %s (%s): %d entries in %d epochs, %d bytes, up to %v, signed up to %v, %d gaps, %d set aside, %d unreadable": "em ordem: %s (%s): %d lançamentos em %d épocas, %d bytes, até %v, assinada até %v, %d lacunas, %d postas de lado, %d ilegíveis",

	"DEVICE\tTENANT/SITE\tSTATE\tONLINE\tHEAD\tSIGNED\tENTRIES\tWAITING\tALARMS": "TERMINAL\tDONO/LOCAL\tSITUAÇÃO\tLIGADO\tFIM\tASSINADO\tLANÇAMENTOS\tÀ ESPERA\tALARMES",
	"NUMBER\tRECEIVED\tSOURCE\tEVENT\tSTATE\tTERMINAL\tCHARGE OR PAYOUT":         "NÚMERO\tRECEBIDO\tORIGEM\tEVENTO\tSITUAÇÃO\tTERMINAL\tCOBRANÇA OU PAGAMENTO",
	"yes": "sim", "no": "não", "new": "novo", "revoked": "revogado", "forked": "bifurcado", "epoch": "época",
	"device": "terminal", "tenant/site": "dono/local", "key": "chave", "fork": "bifurcação", "online": "ligado", "seen": "visto", "version": "versão",
	"counter": "contador", "gauge": "medida", "messages": "mensagens", "alarms": "alarmes", "quarantined": "em quarentena",
	"at %v since %s: the hub holds %v, the terminal sent %v": "em %v desde %s: a central tem %v, o terminal enviou %v",
	"%s since %s": "%s desde %s", "%d waiting": "%d à espera", "%d open": "%d abertos",
	"%d: %d entries, %d bytes, up to %v, signed up to %v": "%d: %d lançamentos, %d bytes, até %v, assinada até %v",
	"lost: after %v up to %v":                             "perdidos: depois de %v até %v", "set aside: %s": "posto de lado: %s", "%v since %s: %s": "%v desde %s: %s",
	"webhook": "webhook", "received": "recebido", "source": "origem", "event": "evento", "subject": "assunto", "body": "corpo", "payout": "pagamento", "told": "avisado",
	"done": "recebido pelo terminal", "refused": "recusado", "expired": "vencido",
	"waiting": "à espera", "matched": "encontrado", "unmatched": "sem cobrança",
}

// alarmsEnglish has no what: the hub recorded that. The device.* ones are what terminals
// report; %s in a remedy is the terminal.
var alarmsEnglish = map[string]advice{
	hub.AlarmFork:             {"", "find out which of the two is the right one: docs/hub.md, Forks; then ssg-hub device approve-fork %s …"},
	hub.AlarmEpoch:            {"", "find out whether its store was made anew or restored, or copied; then ssg-hub device approve-epoch %s EPOCH"},
	hub.AlarmRollback:         {"", "stop the terminal before it makes new charges, and restore it: ssg-agent store restore"},
	hub.AlarmRestored:         {"", "nothing: the hub asks the terminals for the rest"},
	hub.AlarmGap:              {"", "restore a newer backup of the hub; if there is none: ssg-hub device approve-gap %s"},
	hub.AlarmBatch:            {"", "update the hub if the terminal is newer; its entries wait"},
	hub.AlarmChain:            {"", "nothing was taken and it is sent again; if it goes on, look for damage or forgery in between"},
	hub.AlarmCheckpoint:       {"", "compare ssg-hub device show %s with ssg-agent identity on the terminal"},
	hub.AlarmPoison:           {"", "report it, with ssg-hub export %s"},
	hub.AlarmOperation:        {"", "compare both entries: ssg-hub export %s"},
	hub.AlarmCredit:           {"", "compare with the provider's statement"},
	hub.AlarmRefused:          {"", "ssg-hub charge show, or refund show and the terminal's ticket; the code is in the detail"},
	hub.AlarmCounter:          {"", "nothing after a restore of the hub; else somebody forges at the broker: check its access rules"},
	hub.AlarmPayout:           {"", "ssg-hub payout show or refund show, then docs/payouts.md, An outcome that stays unknown"},
	hub.AlarmProposal:         {"", "docs/payouts.md, What terminals propose; unless it was refused, look at the terminal and compare with the provider's statement"},
	hub.AlarmTicket:           {"", "do it in the provider's panel, then ssg-hub refund resolve"},
	hub.AlarmDifference:       {"", "ssg-agent tickets list on the terminal; closing the ticket there ends this alarm"},
	hub.AlarmFlood:            {"", "take care of this terminal's other alarms"},
	hub.AlarmWebhookUnknown:   {"", "ssg-hub webhook list; update the hub"},
	hub.AlarmWebhookUnread:    {"", "report it: the provider has changed something. Terminals ask as ever"},
	hub.AlarmWebhookUnmatched: {"", "wait for a terminal that is away; otherwise compare with the provider's list"},
	hub.AlarmWebhookDispute:   {"", "answer the provider in time; at BSPAY: ssg-agent provider infractions"},
	"device.operator.locked":  {"", "ask whose number it is; the terminal's ledger has each try (operator.refused)"},
	"device.":                 {"", "look at the terminal: ssg-agent doctor"},
}

var alarmsPortuguese = map[string]advice{
	hub.AlarmFork:             {"o terminal tem outro lançamento numa posição que a central já tem: seus dados foram restaurados de uma imagem ou copiados, ou alguém falsifica; nada mais dele é aceito", "descubra qual dos dois é o certo: docs/hub.md, Forks; depois ssg-hub device approve-fork %s …"},
	hub.AlarmEpoch:            {"o terminal envia de uma época que ninguém aprovou; os lançamentos esperam nele", "descubra se os dados foram refeitos, restaurados ou copiados; depois ssg-hub device approve-epoch %s ÉPOCA"},
	hub.AlarmRollback:         {"o terminal tem menos do que a central guarda dele", "pare o terminal antes de novas cobranças e restaure-o: ssg-agent store restore"},
	hub.AlarmRestored:         {"a central tem menos do que já confirmou: foi restaurada de uma cópia", "nada: ela pede o resto aos terminais"},
	hub.AlarmGap:              {"o terminal não pode enviar o que falta à central, porque já apagou", "restaure uma cópia mais nova da central; se não há: ssg-hub device approve-gap %s"},
	hub.AlarmBatch:            {"chegou um lote que não se consegue ler", "se o terminal é mais novo, atualize a central; os lançamentos esperam nele"},
	hub.AlarmChain:            {"chegou um lote cujos lançamentos não se encadeiam", "nada foi aceito e ele será enviado de novo; se continuar, procure dano ou falsificação no caminho"},
	hub.AlarmCheckpoint:       {"uma assinatura não é do terminal, ou não é desta cadeia", "compare ssg-hub device show %s com ssg-agent identity no terminal"},
	hub.AlarmPoison:           {"de um lançamento nada se consegue ler; ficou guardado como veio", "avise o suporte, com ssg-hub export %s"},
	hub.AlarmOperation:        {"a mesma operação foi registrada duas vezes, com conteúdos diferentes; vale a primeira", "compare os dois lançamentos: ssg-hub export %s"},
	hub.AlarmCredit:           {"um recebimento foi creditado a duas cobranças, ou não é o que a central conhece", "compare com o extrato do provedor"},
	hub.AlarmRefused:          {"o terminal recusa o que lhe foi enviado", "ssg-hub charge show, ou refund show e o chamado do terminal; o código está no detalhe"},
	hub.AlarmCounter:          {"o terminal diz que aceitou contadores que esta central não deu", "nada, se a central foi restaurada; senão alguém falsifica no broker: confira as regras de acesso"},
	hub.AlarmPayout:           {"dinheiro que saiu, ou não, precisa de uma pessoa: ninguém sabe o desfecho, ou o provedor não conclui ou contradiz o registrado, ou a central foi restaurada e esqueceu", "ssg-hub payout show ou refund show; depois docs/payouts.md, An outcome that stays unknown"},
	hub.AlarmProposal:         {"uma proposta de um terminal foi recusada (o porquê está no detalhe) ou precisa de uma pessoa: não é de terminal nosso, repete uma referência ou talvez já tenha sido paga", "docs/payouts.md, What terminals propose; se não foi recusada, examine o terminal e compare com o extrato do provedor"},
	hub.AlarmTicket:           {"uma devolução aprovada, que o provedor não faz sozinho, espera uma pessoa", "faça-a no painel do provedor; depois ssg-hub refund resolve"},
	hub.AlarmDifference:       {"a conferência do terminal achou uma diferença com o provedor", "ssg-agent tickets list no terminal; fechar o chamado lá encerra este alarme"},
	hub.AlarmFlood:            {"o terminal relata mais do que se guarda", "cuide dos outros alarmes deste terminal"},
	hub.AlarmWebhookUnknown:   {"um provedor relata um evento que esta central não conhece", "ssg-hub webhook list; atualize a central"},
	hub.AlarmWebhookUnread:    {"um webhook assinado pelo provedor não pôde ser lido", "avise o suporte: o provedor mudou algo. Os terminais continuam perguntando"},
	hub.AlarmWebhookUnmatched: {"um provedor relata dinheiro de uma cobrança que nenhum terminal enviou", "espere por um terminal que está fora; senão compare com a lista do provedor e credite ou devolva"},
	hub.AlarmWebhookDispute:   {"um pagamento é contestado", "responda ao provedor no prazo; na BSPAY: ssg-agent provider infractions"},
	"device.operator.locked":  {"alguém errou a senha do menu do operador várias vezes seguidas", "pergunte de quem é o número; o livro do terminal tem cada tentativa (operator.refused)"},
	"device.":                 {"o terminal relata: %s", "examine o terminal: ssg-agent doctor"},
}
