package main

import (
	"strings"

	"github.com/ssg-safe/agent/fleet/wire"
)

// inspectWords are the words of these views, in one language.
type inspectWords struct {
	network, printer, slipsWaiting, slipsDead, clock, clockQuality         string
	hub, connected, disconnected, toSend, hubHolds, lastError, none        string
	store, storeFree, up, terminal, device                                 string
	version, commit, platform, amounts, expiry, merchant, provider, host   string
	cutOff, offline, broker, site, api, data, inOrder, troubled, inService string
	health, quality                                                        map[string]string
	checks                                                                 map[string]string // of doctor
	why                                                                    map[string]string // by providers.Kind
	holds                                                                  map[wire.Hold]string
}

// inspectTexts are the words of a language; Portuguese unless it is English.
func inspectTexts(locale string) *inspectWords {
	if strings.HasPrefix(locale, "en") {
		return &inspectEnglish
	}
	return &inspectPortuguese
}

var inspectPortuguese = inspectWords{
	network: "Rede", printer: "Impressora", slipsWaiting: "Papéis na fila", slipsDead: "Papéis a decidir", clock: "Relógio",
	clockQuality: "Hora", hub: "Central", connected: "conectada", disconnected: "sem conexão", toSend: "A enviar",
	hubHolds: "A central espera", lastError: "Último erro", none: "nenhuma", store: "Dados", storeFree: "%d MiB, %d%% livres",
	up: "Ligado há", terminal: "Terminal", device: "Dispositivo", version: "Versão", commit: "Commit", platform: "Sistema",
	amounts: "Valores", expiry: "Código vale", merchant: "Loja", provider: "Provedor", host: "Endereço", cutOff: "Fecha às",
	offline: "Sem conexão", broker: "Central", site: "Local", api: "API local", data: "Pasta de dados",
	inService: "em uso", inOrder: "Em ordem", troubled: "Com problema",
	health:  map[string]string{"ok": "em ordem", "warn": "com problemas", "down": "fora", "unknown": "não se sabe", "none": "não há"},
	quality: map[string]string{"unsynced": "ninguém confirma", "floor": "atrasada", "synced": "sincronizada", "anchored": "confirmada"},
	checks: map[string]string{
		"queue": "Papéis", "tickets": "Chamados", "clock": "Relógio", "disk": "Disco", "port": "Porta", "network": "Rede", "provider": "Provedor",
		"broker": "Central", "facade": "Fachada SSG", "config": "Configuração", "store": "Dados", "printer": "Impressora", "display": "Tela",
		"menu": "Menu",
	},
	why: map[string]string{
		"invalid": "recusa o que se pede", "payer_data_required": "pede dados do pagador", "auth": "recusa as credenciais",
		"forbidden": "a conta não tem permissão", "not_found": "não conhece a cobrança", "conflict": "tem outra cobrança com este número",
		"funds": "falta saldo na conta", "limit": "fora dos limites da conta", "operator": "alguém precisa agir no provedor",
		"rate": "pedidos demais", "unavailable": "fora do ar", "not_sent": "não se chega até ele", "ambiguous": "não responde",
		"contract": "responde o que não se entende", "security": "resposta que não é de confiança",
	},
	holds: map[wire.Hold]string{
		wire.HoldEpoch: "um operador aprovar a restauração deste terminal", wire.HoldFork: "um operador ver por que há dois livros com esta identidade",
	},
}

var inspectEnglish = inspectWords{
	network: "Network", printer: "Printer", slipsWaiting: "Slips waiting", slipsDead: "Slips to decide", clock: "Clock",
	clockQuality: "Time", hub: "Hub", connected: "connected", disconnected: "no connection", toSend: "To send",
	hubHolds: "The hub waits", lastError: "Last error", none: "none", store: "Data", storeFree: "%d MiB, %d%% free",
	up: "Up for", terminal: "Terminal", device: "Device", version: "Version", commit: "Commit", platform: "System",
	amounts: "Amounts", expiry: "Code lasts", merchant: "Shop", provider: "Provider", host: "Address", cutOff: "Closes at",
	offline: "Offline", broker: "Hub", site: "Site", api: "Local API", data: "Data folder",
	inService: "in use", inOrder: "In order", troubled: "With a problem",
	health:  map[string]string{"ok": "in order", "warn": "has problems", "down": "down", "unknown": "not known", "none": "there is none"},
	quality: map[string]string{"unsynced": "nobody confirms it", "floor": "behind", "synced": "synchronised", "anchored": "confirmed"},
	checks: map[string]string{
		"queue": "Slips", "tickets": "Tickets", "clock": "Clock", "disk": "Disk", "port": "Port", "network": "Network", "provider": "Provider",
		"broker": "Hub", "facade": "SSG façade", "config": "Configuration", "store": "Data", "printer": "Printer", "display": "Screen",
		"menu": "Menu",
	},
	why: map[string]string{
		"invalid": "refuses what is asked", "payer_data_required": "wants the payer's data", "auth": "refuses the credentials",
		"forbidden": "the account may not do this", "not_found": "does not know the charge", "conflict": "has another charge with this id",
		"funds": "the account lacks funds", "limit": "outside the account's limits", "operator": "somebody must act at the provider",
		"rate": "too many requests", "unavailable": "out of service", "not_sent": "cannot be reached", "ambiguous": "does not answer",
		"contract": "answers what cannot be understood", "security": "an answer not to be trusted",
	},
	holds: map[wire.Hold]string{
		wire.HoldEpoch: "for an operator to approve the restored terminal", wire.HoldFork: "for an operator to see why there are two ledgers",
	},
}
