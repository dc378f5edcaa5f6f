package operator

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ssg-safe/agent/display"
)

// A page must fit the smallest screen that is drawn, 36 columns by 14 rows: so
// many choices or rows of text are on one page, so wide.
const (
	pageItems = 5
	pageRows  = 7
	pageCols  = 32
)

// The keys that turn pages, and those of the choices that are no items.
const (
	keyEarlier = 8
	keyLater   = 9
)

// home is the menu itself.
type home struct{}

func (*home) page(m *Menu, _ time.Duration) display.Page {
	p := display.Page{Title: m.t.menu, Keys: m.keys(keyLeave)}
	for v := Slips; v <= Examine; v++ {
		if m.who.Role.May(v) {
			c := display.Choice{Key: strconv.Itoa(int(v)), Does: m.t.views[v]}
			if v == Examine {
				c.Detail = m.examState()
			}
			p.Choices = append(p.Choices, c)
		}
	}
	return p
}

func (*home) key(m *Menu, k display.Key, up time.Duration) *Request {
	switch {
	case k.Kind == display.Cancel:
		m.Close()
	case k.Kind == display.Digit && View(k.Digit) == Day:
		return m.days()
	case k.Kind == display.Digit && View(k.Digit) == Examine:
		return m.examine(up)
	case k.Kind == display.Digit:
		return m.ask(View(k.Digit), Read{View(k.Digit)})
	}
	return nil
}

// busy shows that a request is being worked on. Leaving it leaves its answer, not
// what was asked for.
type busy struct {
	title string
	view  View // whose answer is shown here; 0: that of a log-in
}

func (m *Menu) busy(v View) *busy { return &busy{title: m.t.views[v], view: v} }

func (s *busy) page(m *Menu, _ time.Duration) display.Page {
	return display.Page{Title: s.title, Notice: m.t.wait, Busy: true, Keys: m.keys(keyLeave)}
}

func (s *busy) key(m *Menu, k display.Key, _ time.Duration) *Request {
	switch {
	case k.Kind != display.Cancel:
	case s.view == 0:
		m.Close()
	default:
		m.home()
	}
	return nil
}

// notice tells how something ended.
type notice struct {
	title, text string
	tone        display.Tone
	detail      []display.PageLine
}

func (s *notice) page(m *Menu, _ time.Duration) display.Page {
	return display.Page{Title: s.title, Lines: s.detail, Notice: s.text, Tone: s.tone, Keys: m.keys(keyBack)}
}

func (s *notice) key(m *Menu, k display.Key, _ time.Duration) *Request {
	switch {
	case k.Kind != display.Confirm && k.Kind != display.Cancel:
	case m.who == nil:
		m.Close()
	default:
		m.home()
	}
	return nil
}

// picker lists items, a few a page; a digit picks one.
type picker struct {
	title string
	items []item
	empty string // what is said when there are none
	at    int    // page
}

// item is one of them, and what picking it leads to.
type item struct {
	does, detail string
	pick         func() *Request
}

func (s *picker) page(m *Menu, _ time.Duration) display.Page {
	p := display.Page{Title: s.title}
	if len(s.items) == 0 {
		p.Lines = []display.PageLine{{Value: s.empty}}
	}
	for i, it := range s.shown() {
		p.Choices = append(p.Choices, display.Choice{Key: strconv.Itoa(i + 1), Does: it.does, Detail: it.detail})
	}
	p.Title, p.Keys = m.turning(s.title, s.at, pagesOf(len(s.items), pageItems))
	return p
}

func pagesOf(n, each int) int { return max(1, (n+each-1)/each) }

func (s *picker) shown() []item {
	from := s.at * pageItems
	return s.items[from:min(len(s.items), from+pageItems)]
}

func (s *picker) key(m *Menu, k display.Key, _ time.Duration) *Request {
	shown := s.shown()
	switch {
	case k.Kind == display.Digit && k.Digit >= 1 && k.Digit <= len(shown):
		return shown[k.Digit-1].pick()
	case k.Kind == display.Cancel:
		m.home()
	default:
		s.at = turn(k, s.at, pagesOf(len(s.items), pageItems))
	}
	return nil
}

// sheet shows lines, page by page, and what may be done about them.
type sheet struct {
	title   string
	pages   [][]display.PageLine
	actions []item // by digit, from 1
	at      int
}

func newSheet(title string, groups Sheet, actions ...item) *sheet {
	return &sheet{title: title, pages: paginate(groups, pageRows-len(actions)), actions: actions}
}

func (s *sheet) page(m *Menu, _ time.Duration) display.Page {
	p := display.Page{Lines: s.pages[s.at]}
	p.Title, p.Keys = m.turning(s.title, s.at, len(s.pages))
	for i, a := range s.actions {
		p.Choices = append(p.Choices, display.Choice{Key: strconv.Itoa(i + 1), Does: a.does, Detail: a.detail})
	}
	return p
}

func (s *sheet) key(m *Menu, k display.Key, _ time.Duration) *Request {
	switch {
	case k.Kind == display.Digit && k.Digit >= 1 && k.Digit <= len(s.actions):
		return s.actions[k.Digit-1].pick()
	case k.Kind == display.Cancel:
		m.back()
	default:
		s.at = turn(k, s.at, len(s.pages))
	}
	return nil
}

// turn turns pages.
func turn(k display.Key, at, pages int) int {
	switch {
	case k.Kind == display.Digit && k.Digit == keyEarlier:
		return max(0, at-1)
	case k.Kind == display.Digit && k.Digit == keyLater:
		return min(pages-1, at+1)
	}
	return at
}

// turning is the title of a page of several, and its keys.
func (m *Menu) turning(title string, at, pages int) (string, []display.Choice) {
	if pages == 1 {
		return title, m.keys(keyBack)
	}
	var keys []hintKey
	if at > 0 {
		keys = append(keys, keyPrevious)
	}
	if at < pages-1 {
		keys = append(keys, keyMore)
	}
	return fmt.Sprintf("%s %d/%d", title, at+1, pages), m.keys(append(keys, keyBack)...)
}

// confirm asks once more before something happens that cannot be undone.
type confirm struct {
	title string
	lines []display.PageLine
	asks  string
	does  func() *Request
}

func (s *confirm) page(m *Menu, _ time.Duration) display.Page {
	return display.Page{Title: s.title, Lines: s.lines, Notice: s.asks, Tone: display.Caution, Keys: m.keys(keyConfirm, keyBack)}
}

func (s *confirm) key(m *Menu, k display.Key, _ time.Duration) *Request {
	switch k.Kind {
	case display.Confirm:
		return s.does()
	case display.Cancel:
		m.back()
	}
	return nil
}

// paginate lays groups of lines out on pages of so many rows, as narrow as the
// smallest screen. A line that is longer than a page is continued on the next.
func paginate(groups Sheet, rows int) [][]display.PageLine {
	var pages [][]display.PageLine
	var page []display.PageLine
	left := rows
	next := func() {
		if len(page) > 0 {
			pages, page, left = append(pages, page), nil, rows
		}
	}
	for _, group := range groups {
		lines, height := split(group, rows)
		if height > left {
			next()
		}
		for _, l := range lines {
			h := rowsOf(l)
			if h > left {
				next()
			}
			page, left = append(page, l), left-h
		}
	}
	next()
	if pages == nil {
		pages = [][]display.PageLine{nil}
	}
	return pages
}

// split cuts lines that are higher than a page at their words.
func split(group []display.PageLine, rows int) (lines []display.PageLine, height int) {
	for _, l := range group {
		for rowsOf(l) > rows {
			cut := l
			words := strings.Fields(l.Value)
			n := len(words) - 1
			for ; n > 1; n-- {
				if cut.Value = strings.Join(words[:n], " "); rowsOf(cut) <= rows {
					break
				}
			}
			if n < 1 {
				break
			}
			cut.Value = strings.Join(words[:n], " ")
			lines, height = append(lines, cut), height+rowsOf(cut)
			l.Name, l.Value = "", strings.Join(words[n:], " ")
		}
		lines, height = append(lines, l), height+rowsOf(l)
	}
	return lines, height
}

// rowsOf is how many rows a line takes on the narrowest screen, at most.
func rowsOf(l display.PageLine) int {
	name, value := utf8.RuneCountInString(l.Name), utf8.RuneCountInString(l.Value)
	if name > 0 && name+1+value <= pageCols {
		return 1
	}
	width, rows := pageCols, 0
	if name > 0 {
		width, rows = pageCols-2, 1
	}
	used := 0
	for word := range strings.FieldsSeq(l.Value) {
		n := utf8.RuneCountInString(word)
		switch {
		case used > 0 && used+1+n <= width:
			used += 1 + n
			continue
		case n > width:
			rows += (n + width - 1) / width
			used = n % width
			continue
		}
		rows++
		used = n
	}
	return max(1, rows)
}

// clock is a span as minutes and seconds.
func clock(d time.Duration) string {
	return fmt.Sprintf("%02d:%02d", d/time.Minute, d%time.Minute/time.Second)
}
