package providers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	_ "github.com/ssg-safe/agent/internal/bubbles"
)

// seen is what a client can tell of an exchange.
type seen struct {
	Status int
	Body   string
	Err    string // of the exchange or of the body
	Header string
}

func look(t *testing.T, transport http.RoundTripper, url string) seen {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/p?q=1", strings.NewReader("request"))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		if !errors.Is(err, io.EOF) {
			t.Errorf("got %v, want an error that is io.EOF", err)
		}
		return seen{Err: "closed"}
	}
	defer resp.Body.Close() // read
	if resp.Header.Get("Date") == "" {
		t.Error("the answer has no Date")
	}
	body, err := io.ReadAll(resp.Body)
	s := seen{Status: resp.StatusCode, Body: string(body), Header: resp.Header.Get("X-Test")}
	if err != nil {
		s.Err = err.Error()
	}
	return s
}

// TestMemoryLikeSockets: the transport in memory cannot be told from a server
// on a socket.
func TestMemoryLikeSockets(t *testing.T) {
	flush := func(w http.ResponseWriter) { w.(http.Flusher).Flush() }
	handlers := map[string]http.HandlerFunc{
		"nothing": func(http.ResponseWriter, *http.Request) {},
		"echo": func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			w.Header().Set("X-Test", "1")
			fmt.Fprintf(w, "%s %s %s %v %d", r.Method, r.URL.RequestURI(), body, err, r.ContentLength)
		},
		"status": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) },
		"late header": func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, "x") // the client may have gone
			flush(w)
			w.Header().Set("X-Test", "too late")
		},
		"abort at once": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"abort after flush": func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, "ab")
			flush(w)
			panic(http.ErrAbortHandler)
		}, // the client may have gone
		"short of its length": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "10")
			io.WriteString(w, "abc") // the client may have gone
		},
		"beyond its length": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "2")
			_, err1 := io.WriteString(w, "ab")
			_, err2 := io.WriteString(w, "c")
			if err1 != nil || !errors.Is(err2, http.ErrContentLength) {
				panic(fmt.Sprint("writes ended with ", err1, err2))
			}
		},
		"empty with length": func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "0") },
		"large":             func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, strings.Repeat("x", 1<<18)) }, // the client may have gone
	}
	for name, h := range handlers {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(h)
			defer server.Close()
			sockets := look(t, newTransport(t), server.URL)
			memory := look(t, Memory(h), "http://memory.test")
			if d := cmp.Diff(sockets, memory); d != "" {
				t.Errorf("memory differs from sockets (-sockets +memory):\n%s", d)
			}
		})
	}
}

// TestMemoryHangsUp: the handler's context ends when the client gives up, and
// no goroutine stays.
func TestMemoryHangsUp(t *testing.T) {
	for _, when := range []string{"waiting", "reading", "closing"} {
		synctest.Test(t, func(t *testing.T) {
			ended := make(chan error, 1)
			transport := Memory(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if when != "waiting" {
					w.(http.Flusher).Flush()
				}
				<-r.Context().Done()
				_, err := io.WriteString(w, "too late")
				ended <- err
			}))
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://m", nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := transport.RoundTrip(req)
			if when == "waiting" {
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("got %v, want the deadline", err)
				}
			} else if when == "reading" {
				if _, err := io.ReadAll(resp.Body); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("got %v, want the deadline", err)
				}
				resp.Body.Close() // nothing to tell
			} else if err := resp.Body.Close(); err != nil {
				t.Error(err)
			}
			if err := <-ended; err == nil {
				t.Errorf("%s: the handler could still write", when)
			}
		})
	}
}
