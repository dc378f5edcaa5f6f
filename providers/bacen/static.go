package bacen

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/ssg-safe/agent/providers"
)

const (
	// maxSpan is the longest time that one search covers.
	maxSpan = 366 * 24 * time.Hour
	// maxPages bounds the pages of one window.
	maxPages = 1000
)

// window is a span of time, both ends included.
type window struct{ from, to time.Time }

// FindStatic lists the payments of a static code by its txid (1 to 35 letters
// and digits), in order of time: none, one, or many, for a static code can be
// paid again and again. Each tells what went back of it.
//
// The search covers from to to, at most a year, in as many windows and pages as
// the profile makes necessary, each under the read time limit; ctx bounds it as
// a whole. Every row's txid is compared, so that a bank that ignores the filter
// cannot pass off somebody else's money. It is all or nothing: with an error
// there are no payments, also not those of the pages before.
func (c *Client) FindStatic(ctx context.Context, txid string, from, to time.Time) ([]providers.Payment, error) {
	if !isTxID(txid, 1) {
		return nil, c.http.Fail(providers.Call{Op: "static"}, providers.Invalid, providers.Answer{}, "invalid_id", "no txid of 1 to 35 letters and digits", nil)
	}
	from, to = from.UTC().Truncate(time.Second), to.UTC().Add(time.Second-1).Truncate(time.Second)
	if !from.Before(to) || to.Sub(from) > maxSpan {
		return nil, c.http.Fail(providers.Call{Op: "static"}, providers.Invalid, providers.Answer{}, "invalid_window", "a search covers more than nothing and at most a year", nil)
	}
	found := map[string]providers.Payment{}
	for _, w := range split(window{from, to}, time.Duration(c.cfg.Profile.MaxWindow)) {
		if err := c.search(ctx, txid, w, found); err != nil {
			return nil, err
		}
	}
	var all []providers.Payment
	for _, p := range found {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b providers.Payment) int {
		if d := a.At.Compare(b.At); d != 0 {
			return d
		}
		if a.EndToEnd < b.EndToEnd {
			return -1
		}
		return 1
	})
	return all, nil
}

// split cuts a window into pieces of at most the given length (0: any) that
// share their borders.
func split(w window, most time.Duration) []window {
	if most <= 0 {
		return []window{w}
	}
	var all []window
	for from := w.from; from.Before(w.to); from = from.Add(most) {
		to := from.Add(most)
		if to.After(w.to) {
			to = w.to
		}
		all = append(all, window{from, to})
	}
	return all
}

// search adds the payments of one window to found.
func (c *Client) search(ctx context.Context, txid string, w window, found map[string]providers.Payment) error {
	return c.walk(ctx, "static", txid, false, w, func(p page, pay payment) error {
		before, twice := found[pay.endToEnd]
		switch {
		case twice && before.Amount != pay.amount:
			return c.http.Fail(p.call, providers.Contract, p.answer, "two_amounts", "an end-to-end id with two amounts", nil)
		case twice:
			return nil
		}
		found[pay.endToEnd] = providers.Payment{
			EndToEnd: pay.endToEnd, TxID: pay.txid, Amount: pay.amount, At: pay.at, Returns: pay.returns, Returned: pay.returned >= pay.amount, Digest: p.answer.Digest,
		}
		return nil
	})
}

// walk gives the payments of one window to each, page by page: those of a txid,
// or with every all of them.
func (c *Client) walk(ctx context.Context, op, txid string, every bool, w window, each func(page, payment) error) error {
	size := c.cfg.Profile.PageSize
	known, nameless := map[string]bool{}, 0 // a row that comes twice, of a list that moves, stands in for none
	for n := range maxPages {
		p, err := c.page(ctx, op, txid, every, w, n, size)
		if err != nil {
			return err
		}
		fail := func(code, detail string) error {
			return c.http.Fail(p.call, providers.Contract, p.answer, code, detail, nil)
		}
		nameless += p.rows - len(p.ids)
		fresh := false
		for _, id := range p.ids {
			fresh = fresh || !known[id]
			known[id] = true
		}
		for _, pay := range p.payments {
			if err := each(p, pay); err != nil {
				return err
			}
		}
		switch {
		case !p.stated: // until a page brings nothing new
			if !fresh {
				return nil
			}
		case p.number != n:
			return fail("wrong_page", fmt.Sprintf("asked for page %d of the list, got %d", n, p.number))
		case n+1 >= p.pages:
			if rows := len(known) + nameless; rows < p.total {
				return fail("incomplete", fmt.Sprintf("the list has %d rows of %d", rows, p.total))
			}
			return nil
		}
	}
	return c.http.Fail(providers.Call{Op: op}, providers.Contract, providers.Answer{}, "endless", "the list does not end", nil)
}

// page is one page of received Pix.
type page struct {
	call     providers.Call
	answer   providers.Answer
	payments []payment // of the txid asked for, or all
	ids      []string  // end-to-end ids of all rows
	rows     int
	stated   bool // the bank says how the list is paged
	number   int
	pages    int
	total    int
}

// page asks for one page, of any txid when that is empty; then it reads the
// payments only with every.
func (c *Client) page(ctx context.Context, op, txid string, every bool, w window, number, size int) (page, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	const layout = "2006-01-02T15:04:05Z"
	query := url.Values{
		"inicio": {w.from.UTC().Format(layout)}, "fim": {w.to.UTC().Format(layout)},
		"paginacao.paginaAtual": {strconv.Itoa(number)}, "paginacao.itensPorPagina": {strconv.Itoa(size)},
	}
	if txid != "" {
		query.Set("txid", txid)
	}
	call := c.call(op, http.MethodGet, "/pix", query)
	call.Use = providers.Read
	call, a, err := c.calls.Send(ctx, call, nil)
	if err != nil {
		return page{}, err
	}
	if a.Status != http.StatusOK {
		return page{}, c.refused(call, a)
	}
	p, err := parsePage(a.Body, txid, every)
	if err != nil {
		return page{}, c.http.Fail(call, providers.Contract, a, "", providers.Describe(a), err)
	}
	p.call, p.answer = call, a
	return p, nil
}

// parsePage reads a page. Rows of other txids are only counted, unless every row
// is wanted: what is wrong with them is not our business.
func parsePage(body []byte, txid string, every bool) (page, error) {
	var in struct {
		Parameters *struct {
			Paging struct {
				Number json.Number `json:"paginaAtual"`
				Pages  json.Number `json:"quantidadeDePaginas"`
				Total  json.Number `json:"quantidadeTotalDeItens"`
			} `json:"paginacao"`
		} `json:"parametros"`
		Pix []json.RawMessage `json:"pix"`
	}
	if err := providers.DecodeJSON(body, &in); err != nil {
		return page{}, err
	}
	if in.Parameters == nil && in.Pix == nil {
		return page{}, errors.New("neither parametros nor pix")
	}
	p := page{rows: len(in.Pix)}
	if in.Parameters != nil && in.Parameters.Paging.Pages != "" {
		p.stated = true
		for name, n := range map[string]struct {
			text json.Number
			into *int
		}{
			"paginaAtual": {in.Parameters.Paging.Number, &p.number}, "quantidadeDePaginas": {in.Parameters.Paging.Pages, &p.pages},
			"quantidadeTotalDeItens": {in.Parameters.Paging.Total, &p.total},
		} {
			if n.text == "" {
				continue
			}
			v, err := strconv.Atoi(n.text.String())
			if err != nil || v < 0 {
				return page{}, errors.New("paginacao." + name + " is no count")
			}
			*n.into = v
		}
	}
	for i, raw := range in.Pix {
		var row struct {
			EndToEnd any `json:"endToEndId"`
			TxID     any `json:"txid"`
		}
		if err := json.Unmarshal(raw, &row); err != nil {
			return page{}, fmt.Errorf("pix[%d]: %w", i, err)
		}
		if id, ok := row.EndToEnd.(string); ok {
			p.ids = append(p.ids, id)
		}
		if !every && (row.TxID != txid || txid == "") {
			continue
		}
		pay, err := parsePix(raw)
		if err != nil {
			return page{}, fmt.Errorf("pix[%d]: %w", i, err)
		}
		p.payments = append(p.payments, pay)
	}
	return p, nil
}
