package bspay

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"time"

	"github.com/ssg-safe/agent/providers"
)

// The limits of a reply to an infraction.
const (
	MaxReplyFiles   = 5
	MaxReplyFile    = 10 << 20 // bytes
	MaxReplyMessage = 5000     // characters
	replyTimeout    = 2 * time.Minute
)

// InfractionQuery selects infractions: disputes that payers opened with their
// banks. Words are the provider's own; empty: all.
type InfractionQuery struct{ Status, Type string }

// Infractions returns the account's, all pages of them, as JSON objects with
// personal data masked.
func (c *Client) Infractions(ctx context.Context, q InfractionQuery) ([]json.RawMessage, error) {
	var all []json.RawMessage
	for page := 1; ; page++ {
		query := url.Values{"page": {strconv.Itoa(page)}, "page_size": {strconv.Itoa(pageSize)}}
		for name, value := range map[string]string{"status": q.Status, "type": q.Type} {
			if value != "" {
				query.Set(name, value)
			}
		}
		r, err := c.get(ctx, "infractions", "/v2/account/infractions?"+query.Encode())
		if err != nil {
			return nil, err
		}
		list, err := rows(r.data)
		if err != nil {
			return nil, c.contract(r, err)
		}
		for _, o := range list {
			told, err := json.Marshal(clean(r.call.Hide, "", map[string]any(o)))
			if err != nil {
				return nil, c.contract(r, err)
			}
			all = append(all, told)
		}
		if len(list) < pageSize {
			return all, nil
		}
		if page == maxPages {
			return nil, c.contract(r, errors.New("there are too many to list; ask for a status or a type"))
		}
	}
}

// Infraction returns one with its replies, as JSON with personal data masked.
func (c *Client) Infraction(ctx context.Context, id string) (json.RawMessage, error) {
	if !isID(id) {
		return nil, c.http.Fail(providers.Call{Op: "infraction"}, providers.Invalid, providers.Answer{}, "invalid_id", "no id", nil)
	}
	r, err := c.get(ctx, "infraction", "/v2/account/infractions/detail?"+url.Values{"id": {id}}.Encode())
	if err != nil {
		return nil, err
	}
	return c.told(r)
}

// ReplyFile is a document that supports a reply. Type is application/pdf,
// image/jpeg or image/png.
type ReplyFile struct {
	Name, Type string
	Content    []byte
}

// ReplyInfraction answers an infraction, which must happen within seven days of
// its opening. What the provider got of a reply whose outcome is unknown stands
// in [Client.Infraction].
func (c *Client) ReplyInfraction(ctx context.Context, id, message string, files []ReplyFile) (json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, replyTimeout)
	defer cancel()
	call := c.call(request{op: "reply", method: http.MethodPost, path: "/v2/account/infractions/reply"})
	fail := func(code, detail string) (json.RawMessage, error) {
		return nil, c.http.Fail(call, providers.Invalid, providers.Answer{}, code, detail, nil)
	}
	switch {
	case !isID(id):
		return fail("invalid_id", "no id")
	case message == "" || len([]rune(message)) > MaxReplyMessage:
		return fail("invalid_message", fmt.Sprintf("a message has 1 to %d characters", MaxReplyMessage))
	case len(files) > MaxReplyFiles:
		return fail("too_many_files", fmt.Sprintf("%d files, at most %d", len(files), MaxReplyFiles))
	}
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	form.WriteField("id", id)           // into memory
	form.WriteField("message", message) // into memory
	for _, f := range files {
		switch {
		case f.Type != "application/pdf" && f.Type != "image/jpeg" && f.Type != "image/png":
			return fail("invalid_file", "a file is neither PDF nor JPEG nor PNG")
		case len(f.Content) == 0 || len(f.Content) > MaxReplyFile:
			return fail("invalid_file", fmt.Sprintf("a file has 1 to %d bytes", MaxReplyFile))
		}
		part, err := form.CreatePart(textproto.MIMEHeader{
			"Content-Disposition": {multipart.FileContentDisposition("files[]", f.Name)}, "Content-Type": {f.Type},
		})
		if err != nil {
			return fail("invalid_file", err.Error())
		}
		part.Write(f.Content) // into memory
	}
	form.Close() // into memory
	sent, a, err := c.calls.Do(ctx, call, func(call *providers.Call) error {
		call.Body = body.Bytes()
		call.Header.Set("Content-Type", form.FormDataContentType())
		return nil
	})
	if err != nil {
		return nil, err
	}
	r := reply{call: sent, answer: a}
	if _, err := c.open(&r, request{op: "reply"}); err != nil {
		return nil, err
	}
	return c.told(r)
}
