package main

import "strings"

// inspectWords are the words of these views, in one language.
type inspectWords struct {
	network, printer, slipsWaiting, slipsDead, clock, clockQuality         string
	hub, connected, disconnected, toSend, hubHolds, lastError, none        string
	store, storeFree, up, terminal, device                                 string
	version, commit, platform, amounts, expiry, merchant, provider, host   string
	cutOff, offline, broker, site, api, data, inOrder, troubled, inService string
	health, quality                                                        map[string]string
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
}
