package providertest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
)

// repeat is an answer that throws the whole request back at the caller, as some
// servers' error pages do, in every field that an adapter might quote.
func (w *wire) repeat(req *http.Request, body string, status int) *http.Response {
	all := fmt.Sprintf("%s %s %v %s", req.Method, req.URL, req.Header, body)
	fields := map[string]any{"errors": map[string]any{"valor": []string{all}, all: []string{all}}}
	for _, name := range []string{
		"codigo_erro", "code", "mensagem", "message", "error", "error_description", "detail", "title", "data", "status",
	} {
		fields[name] = all
	}
	// Pieces are quoted one by one too, so that bounds do not hide a leak.
	for i, piece := range strings.FieldsFunc(all, func(r rune) bool { return strings.ContainsRune(`"{}[],:`, r) }) {
		fields["errors"].(map[string]any)[fmt.Sprint("f", i)] = []string{piece}
	}
	text, err := json.Marshal(fields)
	if err != nil {
		panic(err) // only text gets here
	}
	return &http.Response{
		StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: req,
		Header: http.Header{"Content-Type": {"application/json"}, "Retry-After": {all}}, Body: io.NopCloser(bytes.NewReader(text)),
	}
}

// leaks returns the canaries and tokens found in a text.
func (w *world) leaks(text string) []string {
	var found []string
	text = strings.ToLower(text)
	for _, c := range append(w.wire.tokens(), w.Canaries...) {
		if strings.Contains(text, strings.ToLower(c)) {
			found = append(found, c)
		}
	}
	return found
}

// checkSecrets looks for credentials, tokens and payers' data in everything
// that comes out of the adapter but requests.
func checkSecrets(w *world) {
	if len(w.Canaries) < 2 {
		w.Fatal("the fixture has no canaries")
	}
	var outputs []string
	record := func(v any) {
		outputs = append(outputs, fmt.Sprintf("%v\n%+v\n%#v\n%q\n%x", v, v, v, v, v))
		if text, err := json.Marshal(v); err == nil {
			outputs = append(outputs, string(text))
		}
		var b bytes.Buffer
		for _, h := range []slog.Handler{slog.NewTextHandler(&b, nil), slog.NewJSONHandler(&b, nil)} {
			slog.New(h).Error("m", "err", v)
		}
		outputs = append(outputs, b.String())
	}
	ch := w.create(1, 100)
	if w.reader != nil {
		record(w.status(ch.ProviderID))
	}
	for _, status := range []int{200, 201, 202, 400, 401, 403, 404, 409, 422, 423, 429, 500, 503} {
		w.wire.set(func(l *wire) { l.parrot = status })
		created, err := w.provider.CreateCharge(w.Context(), w.Intent(2, 200))
		if err == nil {
			w.Errorf("an answer of %d that repeats the request made a charge: %+v", status, created)
		}
		record(err)
		if w.reader != nil {
			_, err = w.reader.GetCharge(w.Context(), w.made[ch.ProviderID])
			record(err)
		}
	}
	w.wire.set(func(l *wire) { l.parrot = 0 })
	for _, o := range outcomes {
		w.faults(rule("*", o.fault, o.arg))
		_, err := w.provider.CreateCharge(w.Context(), w.Intent(3, 300))
		record(err)
	}
	w.faults()
	w.wire.set(func(l *wire) { l.refuse = true })
	_, err := w.provider.CreateCharge(w.Context(), w.Intent(4, 400))
	record(err)
	w.wire.set(func(l *wire) { l.refuse = false })

	record(w.provider)
	record(w.Intent(5, 500))
	outputs = append(outputs, w.logged.String())
	for _, out := range outputs {
		if found := w.leaks(out); found != nil {
			w.Errorf("%q leaks into: %.500s", found, out)
		}
	}
	if w.Tokens && len(w.wire.tokens()) == 0 {
		w.Error("no token was seen")
	}
	if !strings.Contains(w.logged.String(), "provider") {
		w.Error("the adapter logged nothing, so nothing was checked in its log")
	}
}
