package providertest

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// Output collects what comes out of adapters in a history, to look for what must
// not. The zero value is ready; it is safe for concurrent use.
type Output struct{ text syncBuffer }

// Logger writes down every line of a log.
func (o *Output) Logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(&o.text, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// Note writes down what was told otherwise: answers, errors, facts.
func (o *Output) Note(values ...any) {
	for _, v := range values {
		fmt.Fprintf(&o.text, "%+v\n", v)
	}
}

// Check fails the test for each canary, a secret or a person's data, that came out.
func (o *Output) Check(tb testing.TB, canaries ...string) {
	tb.Helper()
	text := strings.ToLower(o.text.String())
	if text == "" {
		tb.Error("nothing came out, so nothing was looked at")
	}
	for _, c := range canaries {
		if strings.Contains(text, strings.ToLower(c)) {
			tb.Errorf("%q comes out", c)
		}
	}
}
