package ssg

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ssg-safe/agent/providers"
)

// The bodies of the API. Field names are the document's.

type tokenRequest struct {
	GrantType    string `json:"grant_type"`
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret"`
}

type createRequest struct {
	Amount   string `json:"valor"`
	Key      string `json:"chave"`
	Expiry   string `json:"data_expiracao"`
	Name     string `json:"nome_pagador"`
	Email    string `json:"email_pagador"`
	Document string `json:"documento_pagador"`
	Postcode string `json:"cep_pagador"`
	Address  string `json:"endereco_pagador"`
	City     string `json:"cidade_pagador"`
	State    string `json:"uf_pagador"`
	Account  string `json:"account_id"`
}

type statusRequest struct {
	ID string `json:"qrcode_id"`
}

// expiryLayout is the form of data_expiracao: local time without a zone.
const expiryLayout = "2006-01-02T15:04:05"

func parseCreated(body []byte) (id, code string, err error) {
	var in struct {
		Data struct {
			ID   string `json:"id"`
			Code string `json:"qrcode"`
		} `json:"data"`
	}
	if err := providers.DecodeJSON(body, &in); err != nil {
		return "", "", err
	}
	if !isID(in.Data.ID) {
		return "", "", errors.New("data.id is missing or malformed")
	}
	if in.Data.Code == "" {
		return in.Data.ID, "", errors.New("data.qrcode is missing")
	}
	return in.Data.ID, in.Data.Code, nil
}

func parseStatus(body []byte) (id, word string, err error) {
	var in struct {
		Data struct {
			ID   string `json:"qrcode_id"`
			Word string `json:"status"`
		} `json:"data"`
	}
	if err := providers.DecodeJSON(body, &in); err != nil {
		return "", "", err
	}
	if !isID(in.Data.ID) {
		return "", "", errors.New("data.qrcode_id is missing or malformed")
	}
	if in.Data.Word == "" || len(in.Data.Word) > 64 || strings.ContainsFunc(in.Data.Word, func(r rune) bool { return r < ' ' || r > '~' }) {
		return "", "", errors.New("data.status is missing or malformed")
	}
	return in.Data.ID, in.Data.Word, nil
}

// isID accepts what can be a charge id; the document shows a UUID, cut short.
func isID(s string) bool {
	return s != "" && len(s) <= 255 && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// words maps the document's states. Anything else is uncertain.
var words = map[string]providers.Status{
	"PENDENTE": providers.StatusPending,
	"PAGO":     providers.StatusPaid,
	"EXPIRADO": providers.StatusExpired,
}

func statusOf(word string) providers.Status {
	if s, ok := words[strings.ToUpper(word)]; ok {
		return s
	}
	return providers.StatusUncertain
}

// parseFailure reads an error body as far as it goes: the provider's own
// {codigo_erro, mensagem}, the framework's {message, errors}, or OAuth's {error,
// error_description}. Codes need 64 bits. It never fails; both results may be
// empty. The text is not clean yet.
func parseFailure(body []byte) (code, detail string) {
	var in map[string]any
	if err := providers.DecodeJSON(body, &in); err != nil {
		return "", ""
	}
	text := func(name string) string {
		s, _ := in[name].(string)
		return s
	}
	switch n := in["codigo_erro"].(type) {
	case json.Number:
		if v, err := n.Int64(); err == nil {
			code = fmt.Sprint(v)
		}
	case string:
		code = n
	}
	if code == "" {
		code = text("error")
	}
	var parts []string
	for _, name := range []string{"mensagem", "message", "error_description"} {
		if s := text(name); s != "" && !slices.Contains(parts, s) {
			parts = append(parts, s)
		}
	}
	fields, _ := in["errors"].(map[string]any)
	for _, field := range slices.Sorted(maps.Keys(fields)) {
		reason := ""
		switch v := fields[field].(type) {
		case string:
			reason = v
		case []any:
			if len(v) > 0 {
				reason, _ = v[0].(string)
			}
		}
		parts = append(parts, strings.TrimSuffix(field+": "+reason, ": "))
	}
	return code, strings.Join(parts, "; ")
}
