package providers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"sync"
	"time"
)

// Memory returns a transport that serves every request by h, without a socket
// and without goroutines that outlive an exchange, so that an adapter and a
// simulator work together inside a testing/synctest bubble and inside one
// process. As with a real server the answer streams, a handler that panics
// with http.ErrAbortHandler cuts the connection, an answer shorter than its
// Content-Length ends in io.ErrUnexpectedEOF, and the request's context ends
// when the client gives up.
func Memory(h http.Handler) http.RoundTripper { return memory{h} }

type memory struct{ handler http.Handler }

var errCut = fmt.Errorf("connection closed by the other side: %w", io.EOF)

func (m memory) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	trace := httptrace.ContextClientTrace(ctx)
	if trace == nil {
		trace = &httptrace.ClientTrace{}
	}
	if trace.GetConn != nil {
		trace.GetConn(req.URL.Host)
	}
	var body []byte
	if req.Body != nil {
		var err error
		body, err = io.ReadAll(req.Body)
		if err = errors.Join(err, req.Body.Close()); err != nil {
			return nil, err
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if trace.GotConn != nil {
		trace.GotConn(httptrace.GotConnInfo{})
	}
	if trace.WroteHeaders != nil {
		trace.WroteHeaders()
	}

	serverCtx, hangUp := context.WithCancel(context.WithoutCancel(ctx))
	in := req.Clone(serverCtx)
	in.Body = io.NopCloser(bytes.NewReader(body))
	in.ContentLength = int64(len(body))
	in.RequestURI = req.URL.RequestURI()
	in.RemoteAddr = "192.0.2.1:49152"
	if in.Host == "" {
		in.Host = req.URL.Host
	}
	pr, pw := io.Pipe()
	w := &memoryWriter{header: http.Header{}, pipe: pw, ready: make(chan struct{}), left: -1}
	go w.serve(m.handler, in)

	stop := context.AfterFunc(ctx, func() {
		pw.CloseWithError(ctx.Err()) // what the client reads, before the handler can end the answer
		hangUp()
	})
	select {
	case <-w.ready:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if w.status == 0 {
		stop()
		hangUp()
		return nil, errCut
	}
	resp := &http.Response{
		Status: strconv.Itoa(w.status) + " " + http.StatusText(w.status), StatusCode: w.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.sent, ContentLength: w.length, Request: req,
		Body: &memoryBody{PipeReader: pr, done: func() { stop(); hangUp() }},
	}
	return resp, nil
}

// memoryBody ends the server's request context when the client is done.
type memoryBody struct {
	*io.PipeReader
	done func()
}

func (b *memoryBody) Close() error {
	b.done()
	return b.PipeReader.Close()
}

// memoryWriter is the handler's side. All fields but ready belong to the
// handler's goroutine until ready is closed; status, sent and length do not
// change afterwards.
type memoryWriter struct {
	header http.Header
	pipe   *io.PipeWriter
	once   sync.Once
	ready  chan struct{} // closed when the header was written or will never be
	status int           // 0: cut before the header
	sent   http.Header
	length int64 // -1: not stated
	left   int64 // of length; -1: not stated
}

func (w *memoryWriter) serve(h http.Handler, req *http.Request) {
	defer func() {
		if p := recover(); p != nil {
			if p != http.ErrAbortHandler { // a panic value, compared as net/http does
				panic(p)
			}
			w.once.Do(func() { close(w.ready) })
			w.pipe.CloseWithError(io.ErrUnexpectedEOF)
			return
		}
		w.WriteHeader(http.StatusOK)
		if w.left > 0 {
			w.pipe.CloseWithError(io.ErrUnexpectedEOF)
			return
		}
		w.pipe.Close() // cannot fail
	}()
	h.ServeHTTP(w, req)
}

func (w *memoryWriter) Header() http.Header { return w.header }

func (w *memoryWriter) WriteHeader(status int) {
	w.once.Do(func() {
		w.status, w.sent, w.length = status, w.header.Clone(), -1
		if w.sent.Get("Date") == "" {
			w.sent.Set("Date", time.Now().UTC().Format(http.TimeFormat))
		}
		if n, err := strconv.ParseInt(w.header.Get("Content-Length"), 10, 64); err == nil && n >= 0 {
			w.length, w.left = n, n
		}
		close(w.ready)
	})
}

func (w *memoryWriter) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if w.left >= 0 && int64(len(b)) > w.left {
		return 0, http.ErrContentLength
	}
	if len(b) == 0 {
		return 0, nil
	}
	n, err := w.pipe.Write(b)
	if w.left >= 0 {
		w.left -= int64(n)
	}
	return n, err
}

// Flush does nothing: the answer is never buffered.
func (w *memoryWriter) Flush() { w.WriteHeader(http.StatusOK) }
