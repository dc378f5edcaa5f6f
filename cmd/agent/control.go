package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"strings"

	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/localapi"
)

// askAgent sends a request of a command to the agent that runs on a data
// directory. No answer and no error: none runs there. The caller closes the
// answer's body.
func askAgent(ctx context.Context, command, data, method, path string, body any) (*http.Response, error) {
	if err := needData(command, data); err != nil {
		return nil, err
	}
	conn, err := localapi.DialControl(ctx, data)
	if err != nil {
		return nil, nil // the store's lock says whether that is true
	}
	fail := func(err error) (*http.Response, error) { return nil, fmt.Errorf("%s: %w", command, err) }
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(context.Context, string, string) (net.Conn, error) { return conn, nil },
	}}
	var content io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return fail(errors.Join(err, conn.Close()))
		}
		content = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://localhost"+path, content)
	if err != nil {
		return fail(errors.Join(err, conn.Close()))
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	answer, err := client.Do(req)
	if err != nil {
		return fail(fmt.Errorf("ask the running agent: %w", err))
	}
	if answer.StatusCode/100 == 2 {
		return answer, nil
	}
	defer answer.Body.Close()
	var problem struct {
		Detail string `json:"detail"`
	}
	if err := json.NewDecoder(io.LimitReader(answer.Body, 64<<10)).Decode(&problem); err != nil || problem.Detail == "" {
		problem.Detail = answer.Status
	}
	return fail(fmt.Errorf("the running agent refuses: %s", problem.Detail))
}

// oneID reports whether the arguments are one id of upper-case letters and digits, which
// can stand in a path.
func oneID(args []string) bool {
	return len(args) == 1 && args[0] != "" && !strings.ContainsFunc(args[0], func(r rune) bool { return (r < '0' || r > '9') && (r < 'A' || r > 'Z') })
}

// askAgentFor reads a JSON answer; asked is false when no agent runs there.
func askAgentFor(ctx context.Context, command, data, method, path string, body, into any) (asked bool, err error) {
	answer, err := askAgent(ctx, command, data, method, path, body)
	if err != nil || answer == nil {
		return err != nil, err
	}
	defer answer.Body.Close()
	if err := json.NewDecoder(answer.Body).Decode(into); err != nil {
		return true, fmt.Errorf("%s: answer of the running agent: %w", command, err)
	}
	return true, nil
}

// entryLines reads entries, one a line, as a running agent sends them.
type entryLines struct {
	in  *bufio.Reader
	err error // what ended the reading, if that was not the end
}

// entries is an iterator over them. The bytes are valid until the next one.
func (l *entryLines) entries() iter.Seq2[ledger.Position, []byte] {
	return func(yield func(ledger.Position, []byte) bool) {
		for {
			line, err := l.in.ReadBytes('\n')
			if errors.Is(err, io.EOF) && len(line) == 0 {
				return
			}
			if err != nil {
				l.err = fmt.Errorf("the running agent stopped in the middle: %w", err)
				return
			}
			line = bytes.TrimSuffix(line, []byte("\n"))
			e, err := ledger.Decode(line)
			if err != nil {
				l.err = err
				return
			}
			if !yield(e.Position(), line) {
				return
			}
		}
	}
}
