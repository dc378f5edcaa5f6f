package operator

import (
	"fmt"
	"time"

	"github.com/ssg-safe/agent/closing"
	"github.com/ssg-safe/agent/display"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/redact"
)

// The operators of the tests. PINs are compared as text: no hash is computed.
var pins = map[string]redact.Secret{"1": "111", "2": "222", "3": "333"}

var staff = []Operator{
	{ID: "1", Name: "Ana", Role: Attendant}, {ID: "2", Name: "Bia", Role: Supervisor}, {ID: "3", Name: "Caio", Role: Technician},
}

// person is somebody at the keypad, and the loop that serves the menu.
type person struct {
	m  *Menu
	up time.Duration
	// tamper changes the menu after each of its steps: what a fault would do.
	tamper func(*Menu)
	// requests are all that were made; verified counts the PINs that were looked at,
	// by operator.
	requests []*Request
	verified map[string]int
	facts    []Fact
	// answer replaces the answers of sample; it may hold one back (nil).
	answer func(What) Answer
}

func newPerson(tamper func(*Menu)) *person {
	return &person{m: New(testConfig("pt-BR")), tamper: tamper, verified: map[string]int{}}
}

func testConfig(lang string) Config {
	return Config{
		Operators: staff, Locale: lang, Zone: time.FixedZone("BRT", -3*60*60), Printer: true,
		Merchants: []Merchant{{"loja", "Padaria São João"}, {"bar", "Bar do Porto"}},
	}
}

// step tampers, and serves a request until there is none.
func (p *person) step(r *Request) {
	for {
		if p.tamper != nil {
			p.tamper(p.m)
		}
		if r == nil {
			return
		}
		p.requests = append(p.requests, r)
		a := p.sample(r.What)
		if p.answer != nil {
			a = p.answer(r.What)
		}
		if a == nil {
			return
		}
		r = p.m.Answer(r.Ticket, a, p.up)
	}
}

func (p *person) sample(w What) Answer {
	switch w := w.(type) {
	case Verify:
		p.verified[w.Operator]++
		return Verified(w.Operator != "" && pins[w.Operator] == w.PIN)
	case Record:
		p.facts = append(p.facts, w.Fact)
		return Recorded{}
	}
	return sample(w)
}

// keys presses keys: digits, E to confirm, C to cancel, B to correct.
func (p *person) keys(keys string) {
	for _, c := range keys {
		p.up += 200 * time.Millisecond
		p.m.Tick(p.up)
		k := display.Key{Kind: display.Digit, Digit: int(c - '0')}
		switch c {
		case 'E':
			k = display.Key{Kind: display.Confirm}
		case 'C':
			k = display.Key{Kind: display.Cancel}
		case 'B':
			k = display.Key{Kind: display.Backspace}
		}
		if p.m.Open() {
			p.step(p.m.Key(k, p.up))
		} else if p.m.Chord(k, p.up) {
			p.m.Begin(p.up)
		}
	}
}

const chordText = "C00C00E"

// login logs in afresh, or tries to.
func (p *person) login(id, secret string) bool {
	p.m.Close()
	p.keys(chordText + id + "E" + secret + "E")
	return p.m.who != nil
}

// last is the newest request.
func (p *person) last() What {
	if len(p.requests) == 0 {
		return nil
	}
	return p.requests[len(p.requests)-1].What
}

func (p *person) title() string {
	if page := p.m.Page(p.up); page != nil {
		return page.Title
	}
	return ""
}

var noon = time.Date(2026, 3, 9, 15, 0, 0, 0, time.UTC)

// sample answers requests with what a busy kiosk has.
func sample(w What) Answer {
	switch w := w.(type) {
	case Read:
		switch w.View {
		case Slips:
			var list SlipList
			for i := range 7 {
				list = append(list, Slip{
					Charge: "T0012026030912000000ABCDE", Amount: money.Amount(123456 * (i + 1)), At: noon.Add(-time.Duration(i) * time.Hour),
					Paid: i != 1, NSU: uint64(i * 11), Copies: i,
				})
			}
			return list
		case Waiting:
			return Standing{
				Pending: Tally{3, 370368, 125 * time.Minute}, Released: Tally{1, 12345, 72 * time.Hour},
				Tickets:     []Ticket{{"T1A2B3C4D5", 123456, noon.Add(-time.Hour), true}, {"T0A2B3C4D6", 100, noon.Add(48 * time.Hour), false}},
				OpenTickets: 2, Overdues: 1,
				Open: []Open{
					{"T0012026030912000000ABCDE", 123456, noon, true, true},
					{"T0012026030912000000ABCDF", 123456, noon, true, false},
					{"T0012026030912000000ABCDG", 500000, noon, false, false},
					{"T0012026030912000000ABCDH", 100, noon, false, false},
					{"T0012026030912000000ABCDI", 999999, noon, false, false},
				},
			}
		case Letters:
			return LetterList{{Job: 7, NSU: 123, Kind: "receipt", Amount: 1234, Unsure: true}, {Job: 8, NSU: 124, Kind: "closing"}, {Job: 9, NSU: 125, Kind: "qr", Amount: 5}}
		}
		return Sheet{
			{{Name: "Rede", Value: "em ordem", Tone: display.Good}},
			{{Name: "Impressora", Value: "fora", Tone: display.Bad}},
			{{Name: "clock", Value: "o relógio está atrasado; já passou de 2026-03-09T12:00:00Z", Tone: display.Bad}, {Value: "Acerte a hora (timedatectl set-time 'AAAA-MM-DD HH:MM:SS') e ligue a sincronização (timedatectl set-ntp true). Se voltar a atrasar depois de faltar energia, troque a bateria do relógio."}},
			{{Name: "Endereço", Value: "uma-maquina-de-nome-muito-comprido.exemplo.internal.example.com:8883"}},
		}
	case ReadDay:
		return day(0)
	case CloseDay:
		return day(w.Number)
	case PrintDay:
		return Printing{NSU: 321, Copy: 1}
	case Reprint:
		return Printing{NSU: 22, Copy: 3}
	case Settle:
		return Settled{}
	}
	panic(fmt.Sprintf("no answer to %T", w))
}

func day(number uint64) DayReport {
	t := func(n int, sum money.Amount) closing.Total { return closing.Total{Count: n, Sum: sum} }
	return DayReport{Next: 41, Report: closing.Report{
		Merchant: "loja", Number: number, Date: "2026-03-09",
		Lines: []closing.Line{
			{Provider: "ssg", Created: t(120, 12345678), Paid: t(100, 10000000), Expired: t(19, 2300000), Late: t(1, 45678)},
			{Provider: "banco", Created: t(2, 3000), Paid: t(1, 2000), Mismatch: t(1, 1000), Refunded: t(1, 2000)},
		},
	}}
}
