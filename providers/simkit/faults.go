package simkit

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The kinds of fault every simulator has. Before the commit: Latency,
// DropBefore, HTTP, Rate, RateDate, HTML, Redirect. After it: the others.
const (
	Latency    = "latency"     // ARG: duration, or from..to
	DropBefore = "drop_before" // connection closed, nothing done
	HTTP       = "http"        // ARG: status 400–599, with the provider's error body
	Rate       = "rate"        // ARG: duration; 429 with Retry-After in seconds
	RateDate   = "rate_date"   // ARG: duration; 429 with Retry-After as a date
	HTML       = "html"        // a web page under 200, nothing done
	Redirect   = "redirect"    // 307 to another host
	DropAfter  = "drop_after"  // done, connection closed without an answer
	ErrorAfter = "error_after" // ARG: status 500–599; done, then an error
	HTMLAfter  = "html_after"  // done, then a web page under 200
	Truncate   = "truncate"    // done; half of the body, as if it were whole
	Cut        = "cut"         // done; half of the body, then connection closed
	Huge       = "huge"        // done; a body above providers.MaxBody
	Gzip       = "gzip"        // done; a coding nobody asked for
	Slow       = "slow"        // ARG: duration over which the body trickles
)

// The kinds of fault that a simulator carries out itself, if it can.
const (
	// Word replaces the status word of an answer by its argument.
	Word = "word"
	// Echo makes an answer be about another charge than the one asked for.
	Echo = "echo"
	// Code spoils the payable code of an answer; the simulator documents the
	// arguments.
	Code = "code"
)

// Rule is one line of a fault script. Its text form, as given on the command
// line, is ROUTE:FAULT[=ARG][@CHANCE|*NEXT]: "create:drop_after@0.05" fails one
// create in twenty, "status:http=500*3" the next three status calls,
// "*:latency=50ms..200ms" slows everything down.
type Rule struct {
	Route string `json:"route"` // "*": every route
	Fault string `json:"fault"`
	Arg   string `json:"arg,omitempty"`
	// Chance is the probability, 0 < Chance ≤ 1; Next makes the rule hold for
	// the next so many requests instead. Neither: always.
	Chance float64 `json:"chance,omitempty"`
	Next   int     `json:"next,omitempty"`
}

// String is the text form.
func (r Rule) String() string {
	s := r.Route + ":" + r.Fault
	if r.Arg != "" {
		s += "=" + r.Arg
	}
	switch {
	case r.Next > 0:
		s += "*" + strconv.Itoa(r.Next)
	case r.Chance > 0:
		s += "@" + strconv.FormatFloat(r.Chance, 'g', -1, 64)
	}
	return s
}

// validate reports every problem of the rule by itself; a [Script] also knows
// the routes and the provider's own faults.
func (r Rule) validate(v Vocabulary) error {
	var errs []error
	if r.Route != "*" && !slices.Contains(v.routes(), r.Route) {
		errs = append(errs, fmt.Errorf("fault %q: no route %q; routes are *, %s", r, r.Route, strings.Join(v.routes(), ", ")))
	}
	if r.Chance < 0 || r.Chance > 1 || r.Next < 0 || (r.Chance > 0 && r.Next > 0) {
		errs = append(errs, fmt.Errorf("fault %q: want a chance in 0–1 or a count, not both", r))
	}
	argument := func(ok bool, want string) {
		if !ok {
			errs = append(errs, fmt.Errorf("fault %q: argument %q is not %s", r, r.Arg, want))
		}
	}
	if r.Route == RouteWebhook {
		switch r.Fault {
		case Delay:
			d, err := time.ParseDuration(r.Arg)
			argument(err == nil && d >= 0, "a duration such as 7s")
		case Duplicate:
			n, err := strconv.Atoi(cmp.Or(r.Arg, "6"))
			argument(err == nil && n > 1 && n <= 100, "a number from 2 to 100")
		case Form:
			argument(slices.Contains(v.Forms, r.Arg), "one of "+strings.Join(v.Forms, ", "))
		default:
			if all := slices.Concat(carrierKinds, v.Spoils); !slices.Contains(all, r.Fault) {
				errs = append(errs, fmt.Errorf("fault %q: no such fault of webhooks; there are %s", r, strings.Join(all, ", ")))
			}
			argument(r.Arg == "", "allowed here")
		}
		return errors.Join(errs...)
	}
	status, statusErr := strconv.Atoi(r.Arg)
	switch r.Fault {
	case Latency:
		_, _, err := between(r.Arg)
		argument(err == nil, "a duration such as 50ms or a range such as 50ms..2s")
	case Rate, RateDate, Slow:
		d, err := time.ParseDuration(r.Arg)
		argument(err == nil && d >= 0, "a duration such as 7s")
	case HTTP:
		argument(statusErr == nil && status >= 400 && status <= 599, "an HTTP status from 400 to 599")
	case ErrorAfter:
		argument(statusErr == nil && status >= 500 && status <= 599, "an HTTP status from 500 to 599")
	case DropBefore, HTML, Redirect, DropAfter, HTMLAfter, Truncate, Cut, Huge, Gzip:
		argument(r.Arg == "", "allowed here")
	default:
		if !slices.Contains(v.Faults, r.Fault) {
			errs = append(errs, fmt.Errorf("fault %q: no such fault; faults are %s", r, strings.Join(slices.Concat(kinds, v.Faults), ", ")))
		}
	}
	return errors.Join(errs...)
}

var kinds = []string{
	Latency, DropBefore, HTTP, Rate, RateDate, HTML, Redirect,
	DropAfter, ErrorAfter, HTMLAfter, Truncate, Cut, Huge, Gzip, Slow,
}

var ruleForm = regexp.MustCompile(`^([a-z_]+|\*):([a-z_]+)(?:=([^@*,;]*))?(?:@([0-9.]+)|\*([0-9]+))?$`)

// ParseRules reads a script: rules in their text form, separated by commas,
// semicolons or lines, or a JSON array of rule objects. Whether routes and
// faults exist is checked by [Script.Set].
func ParseRules(text string) ([]Rule, error) {
	text = strings.TrimSpace(text)
	if strings.HasPrefix(text, "[") {
		var rules []Rule
		d := json.NewDecoder(strings.NewReader(text))
		d.DisallowUnknownFields()
		if err := d.Decode(&rules); err != nil {
			return nil, fmt.Errorf("read fault rules: %w", err)
		}
		if strings.TrimSpace(text[d.InputOffset():]) != "" {
			return nil, errors.New("read fault rules: something follows the array")
		}
		return rules, nil
	}
	var rules []Rule
	var errs []error
	for _, part := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ';' || r == '\n' }) {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		m := ruleForm.FindStringSubmatch(part)
		if m == nil {
			errs = append(errs, fmt.Errorf("fault %q: want ROUTE:FAULT[=ARG][@CHANCE|*NEXT]", part))
			continue
		}
		r := Rule{Route: m[1], Fault: m[2], Arg: m[3]}
		var err error
		if m[4] != "" {
			if r.Chance, err = strconv.ParseFloat(m[4], 64); err != nil || r.Chance <= 0 || r.Chance > 1 {
				errs = append(errs, fmt.Errorf("fault %q: chance %q does not lie between 0 and 1", part, m[4]))
			}
		}
		if m[5] != "" {
			if r.Next, err = strconv.Atoi(m[5]); err != nil || r.Next == 0 {
				errs = append(errs, fmt.Errorf("fault %q: count %q is not a positive number", part, m[5]))
			}
		}
		rules = append(rules, r)
	}
	return rules, errors.Join(errs...)
}

func between(arg string) (from, to time.Duration, err error) {
	low, high, ranged := strings.Cut(arg, "..")
	if from, err = time.ParseDuration(low); err != nil {
		return 0, 0, err
	}
	if to = from; ranged {
		if to, err = time.ParseDuration(high); err != nil {
			return 0, 0, err
		}
	}
	if from < 0 || to < from {
		return 0, 0, errors.New("a range runs upwards from 0")
	}
	return from, to, nil
}

// Script decides which faults a request meets. It is safe for concurrent use;
// with one client and one seed it is the same every time.
type Script struct {
	words Vocabulary

	mu    sync.Mutex
	rng   *rand.Rand
	rules []Rule
}

// Vocabulary is what the rules of a simulator can say.
type Vocabulary struct {
	// Routes are its routes, Faults those that it carries out itself, besides this
	// package's.
	Routes, Faults []string
	// Forms are the forms of its webhooks, the usual one first, Spoils the ways in
	// which they can be wrong; both empty: it has none.
	Forms, Spoils []string
}

// Check reports every problem of the rules.
func (v Vocabulary) Check(rules ...Rule) error {
	var errs []error
	for _, r := range rules {
		errs = append(errs, r.validate(v))
	}
	return errors.Join(errs...)
}

func (v Vocabulary) routes() []string {
	if len(v.Forms) == 0 {
		return v.Routes
	}
	return append(slices.Clone(v.Routes), RouteWebhook)
}

// NewScript returns an empty script of a simulator.
func NewScript(seed uint64, v Vocabulary) *Script {
	return &Script{rng: rand.New(rand.NewPCG(seed, 0x5ca1ab1e)), words: v}
}

// Set replaces the script. All problems are reported at once, and then nothing
// changes.
func (s *Script) Set(rules ...Rule) error {
	if err := s.words.Check(rules...); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules = slices.Clone(rules)
	return nil
}

// Rules returns what is left of the script.
func (s *Script) Rules() []Rule {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Rule{}, s.rules...)
}

// Faults are the faults of one request: kind to argument.
type Faults map[string]string

// Has reports whether the request meets a fault of the kind.
func (f Faults) Has(kind string) bool {
	_, ok := f[kind]
	return ok
}

func (f Faults) names() []string {
	var names []string
	for kind, arg := range f {
		if arg != "" {
			kind += "=" + arg
		}
		names = append(names, kind)
	}
	slices.Sort(names)
	return names
}

func (f Faults) duration(kind string) (time.Duration, bool) {
	arg, ok := f[kind]
	if !ok {
		return 0, false
	}
	d, err := time.ParseDuration(arg)
	return d, err == nil
}

func (s *Script) pick(route string) Faults {
	s.mu.Lock()
	defer s.mu.Unlock()
	faults := Faults{}
	for i := range s.rules {
		r := &s.rules[i]
		if r.Route != route && (r.Route != "*" || route == RouteWebhook) {
			continue
		}
		switch {
		case r.Next > 0:
			if r.Next--; r.Next == 0 {
				r.Next = -1 // used up
			}
		case r.Chance > 0 && s.rng.Float64() >= r.Chance:
			continue
		}
		arg := r.Arg
		if r.Fault == Latency {
			from, to, _ := between(arg) // validated by Set
			arg = (from + time.Duration(s.rng.Uint64N(uint64(to-from)+1))).String()
		}
		faults[r.Fault] = arg
	}
	s.rules = slices.DeleteFunc(s.rules, func(r Rule) bool { return r.Next < 0 })
	return faults
}
