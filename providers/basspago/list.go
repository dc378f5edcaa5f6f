package basspago

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/ssg-safe/agent/providers"
)

const (
	pageSize = 50 // the most that the API gives
	// maxPages bounds a search, at 1,000 checkouts: beyond it nothing is said rather
	// than "not there".
	maxPages = 20
	// maxPasses is how often a list that moved while it was read is read again.
	maxPasses = 3
	// searched is how far back a search goes where the list is too long for all of
	// it: far beyond a charge's life.
	searched = 48 * time.Hour
)

// query selects and orders checkouts; empty fields select all.
type query struct {
	external    string
	word        string
	since, till time.Time // of their making
	newestFirst bool
}

// values is the query string of a page. The document misspells a filter that its
// framework spells otherwise; which of the two is heard is not known, so both are
// sent, and an unknown one is ignored.
func (q query) values(page, size int) url.Values {
	v := url.Values{"page": {strconv.Itoa(page)}, "size": {strconv.Itoa(size)}, "sort": {"createdAt,asc"}}
	if q.newestFirst {
		v.Set("sort", "createdAt,desc")
	}
	if q.external != "" {
		v.Set("externalId.equals", q.external)
	}
	if q.word != "" {
		v.Set("status.equals", q.word)
	}
	if !q.since.IsZero() {
		from := q.since.UTC().Format(time.RFC3339)
		v.Set("createdAt.greaterThanOrEqual", from)
		v.Set("createdAt.greatherThanOrEqual", from)
	}
	if !q.till.IsZero() {
		v.Set("createdAt.lessThan", q.till.UTC().Format(time.RFC3339))
	}
	return v
}

// page is one page of the list.
type page struct {
	rows   []row
	total  int // X-Total-Count: of all pages
	answer providers.Answer
	call   providers.Call
}

// list asks for one page.
func (c *Client) list(ctx context.Context, use providers.Use, q query, number, size int) (page, error) {
	header := http.Header{"Encrypted-Security-Code": {c.cfg.securityCode().Reveal()}}
	path := "obtain-paycheckouts-api-list?" + q.values(number, size).Encode()
	call, a, err := c.post(ctx, "list", use, path, c.hidden(), map[string]string{"key": c.cfg.Key}, header)
	if err != nil {
		return page{}, err
	}
	rows, err := parseRows(a.Body)
	if a.Status != http.StatusOK || err != nil {
		return page{}, c.refused(call, a, err)
	}
	total, err := strconv.Atoi(a.Header.Get("X-Total-Count"))
	if err != nil || total < len(rows) {
		return page{}, c.http.Fail(call, providers.Contract, a, "", "X-Total-Count is missing, malformed or too small", nil)
	}
	return page{rows, total, a, call}, nil
}

// What the probe finds out.
const (
	unknown int32 = iota
	honoured
	ignored
)

// probe reports whether the list's filters by time are honoured: an unknown filter
// is ignored without a word, and the whole list comes back. A day that is far away
// must select nothing.
func (c *Client) probe(ctx context.Context) (bool, error) {
	p, err := c.list(ctx, providers.Read, query{since: time.Date(2999, 1, 1, 0, 0, 0, 0, time.UTC)}, 0, 1)
	if err != nil {
		return false, err
	}
	if p.total == 0 && c.filters.Load() == honoured {
		return true, nil
	}
	if p.total == 0 {
		// Of an empty account nothing is learnt; what is selected is the same.
		all, err := c.list(ctx, providers.Read, query{}, 0, 1)
		if err != nil || all.total == 0 {
			return true, err
		}
		c.filters.Store(honoured)
		return true, nil
	}
	if c.filters.Swap(ignored) == unknown {
		c.log.Warn("the provider ignores filters of the list, which is read whole", "provider", Name, "checkouts", p.total)
	}
	return false, nil
}

// filtered is what the probe found out, once.
func (c *Client) filtered(ctx context.Context) (bool, error) {
	if known := c.filters.Load(); known != unknown {
		return known == honoured, nil
	}
	return c.probe(ctx)
}

// listed finds a checkout in the list, newest first. NotFound is an answer that
// rests on the whole list.
func (c *Client) listed(ctx context.Context, id string) (providers.Charge, error) {
	if !isID(id) {
		return providers.Charge{}, c.http.Fail(providers.Call{Op: "status"}, providers.Invalid, providers.Answer{}, "invalid_id", "no id to look for", nil)
	}
	q := query{external: id, newestFirst: true}
	seen, use := map[string]bool{}, providers.Poll
	for number := 0; ; number++ {
		p, err := c.list(ctx, use, q, number, pageSize)
		use = providers.Read
		if err != nil {
			return providers.Charge{}, err
		}
		for _, r := range p.rows {
			seen[r.reference] = true
			if r.externalID == id { // the filter is not promised
				c.warn(r.status, r.word, id)
				return providers.Charge{ProviderID: id, Status: r.status, Word: r.word, Digest: p.answer.Digest}, nil
			}
		}
		if len(seen) >= p.total {
			return providers.Charge{}, c.http.Fail(p.call, providers.NotFound, p.answer, "", "no such checkout in the list", nil)
		}
		if len(p.rows) == 0 { // one was made meanwhile, perhaps ours
			return providers.Charge{}, c.http.Fail(p.call, providers.Contract, p.answer, "", "the list moved while it was read", nil)
		}
		if number < maxPages-1 {
			continue
		}
		works, err := c.filtered(ctx)
		if err != nil {
			return providers.Charge{}, err
		}
		date, err := http.ParseTime(p.answer.Header.Get("Date")) // this machine's clock may be wrong
		if !works || err != nil || !q.since.IsZero() {
			return providers.Charge{}, c.http.Fail(p.call, providers.Contract, p.answer, "", "the list has too many checkouts to find one without its filter", nil)
		}
		q.since, number = date.Add(-searched), -1
		clear(seen)
	}
}

// Transactions goes through the key's checkouts. Where the provider honours filters
// by time the query's From and To are sent; the rows tell no time, no amount and no
// currency, so that where it ignores them all checkouts come, and the log says so. A
// transaction's id is the externalId, as a charge's is, or where a checkout has none the
// provider's own.
//
// The list may move while it is read. Each checkout comes once; when pages run out
// before there were as many as the provider counts, the list is read again, and
// after the third time that is a Contract error.
func (c *Client) Transactions(ctx context.Context, q providers.TransactionQuery) iter.Seq2[providers.Transaction, error] {
	return func(yield func(providers.Transaction, error) bool) {
		if q.Currency != "" && q.Currency != "BRL" {
			return
		}
		works, err := c.filtered(ctx)
		if err != nil {
			yield(providers.Transaction{}, err)
			return
		}
		var filter query
		if works {
			filter = query{word: q.Word, since: q.From, till: q.To}
		}
		seen := map[string]bool{}
		for pass := 1; ; pass++ {
			total := 0
			var last page
			for number := 0; number == 0 || len(seen) < total; number++ {
				p, err := c.list(ctx, providers.Read, filter, number, pageSize)
				if err != nil {
					yield(providers.Transaction{}, err)
					return
				}
				if last, total = p, p.total; len(p.rows) == 0 {
					break
				}
				for _, r := range p.rows {
					if seen[r.reference] {
						continue
					}
					seen[r.reference] = true
					if q.Word != "" && r.word != q.Word || q.Kind != "" && r.kind != q.Kind {
						continue
					}
					if !yield(providers.Transaction{
						ID: cmp.Or(r.externalID, r.reference), ExternalID: r.externalID, Kind: r.kind, Status: r.status, Word: r.word, Digest: p.answer.Digest,
					}, nil) {
						return
					}
				}
			}
			if len(seen) >= total {
				return
			}
			if pass == maxPasses {
				yield(providers.Transaction{}, c.http.Fail(last.call, providers.Contract, last.answer, "", "", errors.New("the list has fewer checkouts than it counts")))
				return
			}
		}
	}
}
