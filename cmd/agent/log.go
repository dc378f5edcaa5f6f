package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/term"
)

// openLog makes the logger. Where standard error is the terminal that the
// screen is drawn on, the log goes to a file in the data directory instead.
// Where it is the journal, lines carry their priority and no time of their own.
func openLog(g *globals, cfg Config) (*slog.Logger, func(), error) {
	var to io.Writer = g.stderr
	closeLog := func() {}
	if f, ok := g.stderr.(*os.File); ok && cfg.Display.Kind != "none" && cfg.Display.TTY == "" && term.IsTerminal(int(f.Fd())) {
		if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
			return nil, nil, fmt.Errorf("data directory: %w", err)
		}
		file, err := os.OpenFile(filepath.Join(cfg.Data, "agent.log"), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, nil, fmt.Errorf("log: %w", err)
		}
		to, closeLog = file, func() { file.Close() }
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.Log.Level)); err != nil {
		return nil, nil, usageError{err}
	}
	journal := os.Getenv("JOURNAL_STREAM") != "" && to == io.Writer(os.Stderr)
	return slog.New(newLogHandler(to, level, cfg.Log.Format == "json", journal)), closeLog, nil
}

const (
	// logBurst is how often one message is written in a logWindow. Messages are
	// constants, so a fault that repeats itself cannot fill disk and journal, and
	// hides no other.
	logBurst  = 20
	logWindow = time.Minute
)

// logHandler writes records, each message only so often, and for the journal
// with the priority in front (sd-daemon(3)).
type logHandler struct {
	slog.Handler
	limit *logLimit
	out   *logWriter
}

func newLogHandler(to io.Writer, level slog.Level, asJSON, journal bool) slog.Handler {
	out := &logWriter{to: to, journal: journal}
	o := &slog.HandlerOptions{Level: level}
	if journal {
		o.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey { // the journal has its own
				return slog.Attr{}
			}
			return a
		}
	}
	h := &logHandler{limit: &logLimit{now: time.Now, seen: map[string]*repeats{}}, out: out}
	if asJSON {
		h.Handler = slog.NewJSONHandler(out, o)
	} else {
		h.Handler = slog.NewTextHandler(out, o)
	}
	return h
}

// Handle implements slog.Handler.
func (h *logHandler) Handle(ctx context.Context, r slog.Record) error {
	ok, held := h.limit.allow(r.Level.String() + r.Message)
	if !ok {
		return nil
	}
	if held > 0 {
		r = r.Clone()
		r.AddAttrs(slog.Int("held_back", held))
	}
	h.out.mu.Lock()
	defer h.out.mu.Unlock()
	h.out.level = r.Level
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &logHandler{h.Handler.WithAttrs(attrs), h.limit, h.out}
}

// WithGroup implements slog.Handler.
func (h *logHandler) WithGroup(name string) slog.Handler {
	return &logHandler{h.Handler.WithGroup(name), h.limit, h.out}
}

// logWriter writes one record at a time.
type logWriter struct {
	to      io.Writer
	journal bool

	mu    sync.Mutex // held by Handle around a record; guards level
	level slog.Level
}

func (w *logWriter) Write(line []byte) (int, error) {
	if !w.journal {
		return w.to.Write(line)
	}
	priority := "<7>"
	switch {
	case w.level >= slog.LevelError:
		priority = "<3>"
	case w.level >= slog.LevelWarn:
		priority = "<4>"
	case w.level >= slog.LevelInfo:
		priority = "<6>"
	}
	if _, err := w.to.Write(append([]byte(priority), line...)); err != nil {
		return 0, err
	}
	return len(line), nil
}

// logLimit counts messages.
type logLimit struct {
	now func() time.Time

	mu   sync.Mutex // guards seen
	seen map[string]*repeats
}

// repeats is how often a message came since a time, and how many of those were
// held back.
type repeats struct {
	since   time.Time
	n, held int
}

// allow reports whether a message may be written, and how many like it were
// held back before.
func (l *logLimit) allow(message string) (ok bool, held int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	m := l.seen[message]
	if m == nil {
		if len(l.seen) > 1000 { // somebody logs messages that are no constants
			clear(l.seen)
		}
		m = &repeats{since: now}
		l.seen[message] = m
	}
	if age := now.Sub(m.since); age >= logWindow || age < 0 {
		held = m.held
		*m = repeats{since: now}
	}
	if m.n++; m.n > logBurst {
		m.held++
		return false, 0
	}
	return true, held
}
