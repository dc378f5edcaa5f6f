package display

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ssg-safe/agent/money"
)

// The levels of a sheet, from roomy to bare. A screen is composed at each in
// turn until it fits its area.
const (
	roomy = iota
	ample
	usual
	plain // amounts at their smallest
	tight // signs, too
	dense // no gaps
	flat  // no signs, amounts as plain text
	bare  // what can be missed is missing
	levels
)

// How large signs and amounts are drawn, and the rows of a gap, by level.
var (
	signs   = [levels]int{3, 2, 2, 2, 1, 1, 0, 0}
	amounts = [levels]int{3, 2, 2, 1, 1, 1, 0, 0}
	gaps    = [levels]int{2, 2, 1, 1, 1, 0, 0, 0}
)

// measure is the widest a paragraph gets: longer lines are hard to read.
const measure = 58

// sheet collects the lines of one area, at one level.
type sheet struct {
	w, level int
	lines    []line
}

// compose returns the lines of the roomiest level that fits w by h. When none
// does the barest comes back, and drawing it will be cut.
func compose(w, h int, build func(*sheet)) []line {
	for level := roomy; ; level++ {
		s := &sheet{w: w, level: level}
		build(s)
		if len(s.lines) <= h || level == bare {
			return s.lines
		}
	}
}

func (s *sheet) add(spans ...span) { s.lines = append(s.lines, spans) }

// gap leaves room between groups, never at the top.
func (s *sheet) gap() {
	if len(s.lines) == 0 {
		return
	}
	for range gaps[s.level] {
		s.add()
	}
}

// text adds a paragraph.
func (s *sheet) text(r role, text string) {
	for _, l := range balance(text, min(s.w, measure)) {
		s.add(span{l, r})
	}
}

// detail adds a paragraph that may be missed.
func (s *sheet) detail(r role, text string) {
	if s.level < bare && text != "" {
		s.text(r, text)
	}
}

// label adds a name and its value on one line, shortening the value.
func (s *sheet) label(name, value string) {
	value = clean(value)
	if value == "" {
		return
	}
	room := s.w - utf8.RuneCountInString(name) - 1
	s.add(span{name + " ", dim}, span{shorten(value, room), strong})
}

// picture adds a bitmap as large as the level allows and reports whether there
// was room for one.
func (s *sheet) picture(r role, bitmap []string) bool {
	for scale := signs[s.level]; scale > 0; scale-- {
		if rows := blocks(bitmap, scale); utf8.RuneCountInString(rows[0]) <= s.w {
			s.rows(r, rows)
			return true
		}
	}
	return false
}

// amount adds a sum of money in large digits, else as text.
func (s *sheet) amount(r role, a money.Amount) {
	rows := price(a.BRL(), s.w, amounts[s.level])
	if rows == nil {
		rows = []string{a.BRL()}
	}
	s.rows(r, rows)
}

func (s *sheet) rows(r role, rows []string) {
	for _, row := range rows {
		s.add(span{row, r})
	}
}

// bar adds a bar of which part of whole is filled.
func (s *sheet) bar(r role, part, whole time.Duration) {
	w := min(s.w, measure)
	n := 0
	if whole > 0 {
		n = int((part*time.Duration(w) + whole - 1) / whole)
		n = min(max(n, 0), w)
	}
	s.add(span{strings.Repeat("█", n), r}, span{strings.Repeat("░", w-n), dim})
}

// frame is the time between two pictures of an animation.
const frame = 250 * time.Millisecond

// spinner adds a square that walks to and fro.
func (s *sheet) spinner(elapsed time.Duration) {
	const n = 5
	at := int(elapsed/frame) % (2*n - 2)
	if at >= n {
		at = 2*n - 2 - at
	}
	var l line
	for i := range n {
		dot := span{"·", dim}
		if i == at {
			dot = span{"■", accent}
		}
		l = append(l, span{" ", base}, dot, span{" ", base})
	}
	s.lines = append(s.lines, l)
}

// hint is a key and what it does.
type hint struct{ key, does string }

// hints adds key caps, on one line where they fit, else one each.
func (s *sheet) hints(hs []hint) {
	var row line
	for i, h := range hs {
		if i > 0 {
			row = append(row, span{"    ", base})
		}
		row = append(row, span{" " + h.key + " ", keycap}, span{" " + h.does, base})
	}
	if row.width() <= s.w {
		if len(row) > 0 {
			s.lines = append(s.lines, row)
		}
		return
	}
	for _, h := range hs {
		s.add(span{" " + h.key + " ", keycap}, span{" " + h.does, base})
	}
}

// countdown formats what is left as minutes and seconds, rounded up; 99:59 at
// most.
func countdown(d time.Duration) string {
	s := min((max(d, 0)+time.Second-1)/time.Second, 99*60+59)
	return fmt.Sprintf("%02d:%02d", s/60, s%60)
}
