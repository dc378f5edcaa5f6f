package display

import (
	"strings"
	"unicode/utf8"
)

// Page is one screen of the operator menu. Its words are the caller's, in the
// language of the screen; control characters are dropped. A page has a title, and
// of the rest what it needs, drawn in this order.
type Page struct {
	// Title says where in the menu this is, Who who is logged in.
	Title, Who string

	// Lines are what the page tells.
	Lines []PageLine

	// Typed is what was typed into a field; Dots is how many characters of a PIN
	// were, which are never shown. Field draws the field, empty as it may be.
	Field bool
	Typed string
	Dots  int

	// Notice is a sentence that matters most, as Tone says.
	Notice string
	Tone   Tone

	// Busy draws the walking square: something is being done.
	Busy bool

	// Choices are what the digits do here, Keys what other keys do.
	Choices, Keys []Choice
}

// PageLine is a name and its value, or a sentence without a name.
type PageLine struct {
	Name, Value string
	Tone        Tone
}

// Choice is a key cap and what the key does. Detail is drawn where there is room.
type Choice struct{ Key, Does, Detail string }

// Tone is how something is meant.
type Tone int

// The tones.
const (
	Neutral Tone = iota
	Good
	Caution
	Bad
)

func (t Tone) role(neutral role) role {
	switch t {
	case Good:
		return good
	case Caution:
		return warn
	case Bad:
		return bad
	}
	return neutral
}

// page draws a page of the operator menu: from the left, in a column in the
// middle of the screen.
func (p *painter) page(c *canvas, page *Page, m moment) {
	if page == nil {
		page = &Page{}
	}
	pad := 0
	if c.h >= 20 {
		pad = 1
	}
	w := min(c.w-4, measure)
	x := (c.w - w) / 2
	foot := compose(w, 4, func(s *sheet) { s.hints(keysOf(page.Keys)) })
	room := rect{x, 1 + pad, w, c.h - 2 - 2*pad}
	if n := len(foot); n > 0 {
		c.lines(rect{x, c.h - 1 - pad - n, w, n}, left, foot)
		room.h -= n + pad
	}
	body := compose(room.w, room.h, func(s *sheet) { s.page(page, m) })
	room.y += min(pad, room.h-len(body)) // the title stands still
	room.h = len(body)
	c.lines(room, left, body)
}

func keysOf(keys []Choice) []hint {
	var hs []hint
	for _, k := range keys {
		hs = append(hs, hint{clean(k.Key), clean(k.Does)})
	}
	return hs
}

func (s *sheet) page(page *Page, m moment) {
	title := clean(page.Title)
	if who := clean(page.Who); who != "" && s.level < bare {
		if room := s.w - utf8.RuneCountInString(title) - 2; room > 3 {
			who = shorten(who, room)
			gap := strings.Repeat(" ", s.w-utf8.RuneCountInString(title)-utf8.RuneCountInString(who))
			s.add(span{title, accent}, span{gap, base}, span{who, dim})
		} else {
			s.text(accent, title)
		}
	} else {
		s.text(accent, title)
	}
	if len(page.Lines) > 0 {
		s.gap()
	}
	column := 0 // where values begin, if they fit there
	for _, l := range page.Lines {
		column = max(column, utf8.RuneCountInString(clean(l.Name))+2)
	}
	for _, l := range page.Lines {
		s.pageLine(l, column)
	}
	if page.Field {
		s.gap()
		typed := clean(page.Typed) + strings.Repeat("● ", page.Dots)
		s.add(span{"> ", dim}, span{strings.TrimRight(typed, " "), strong}, span{"_", dim})
	}
	if page.Notice != "" {
		s.gap()
		s.text(page.Tone.role(strong), clean(page.Notice))
	}
	if page.Busy {
		s.gap()
		s.spinner(m.elapsed)
	}
	if len(page.Choices) > 0 {
		s.gap()
	}
	for _, choice := range page.Choices {
		s.choice(choice)
	}
}

// pageLine adds a name and its value: side by side where that fits, else the
// value below, indented.
func (s *sheet) pageLine(l PageLine, column int) {
	name, value := clean(l.Name), clean(l.Value)
	n, v := utf8.RuneCountInString(name), utf8.RuneCountInString(value)
	switch {
	case name == "":
		s.text(l.Tone.role(base), value)
	case column+v <= s.w:
		s.add(span{name + strings.Repeat(" ", column-n), dim}, span{value, l.Tone.role(strong)})
	case n+1+v <= s.w:
		s.add(span{name + " ", dim}, span{value, l.Tone.role(strong)})
	default:
		s.add(span{shorten(name, s.w), dim})
		for _, part := range wrap(value, s.w-2) {
			s.add(span{"  ", base}, span{part, l.Tone.role(strong)})
		}
	}
}

// choice adds a key cap, what it does and, in what room is left, a detail.
func (s *sheet) choice(c Choice) {
	key := " " + clean(c.Key) + " "
	indent := utf8.RuneCountInString(key) + 1
	lines := wrap(clean(c.Does), s.w-indent)
	for i, text := range lines {
		l := line{span{key, keycap}, span{" " + text, base}}
		if i > 0 {
			l = line{span{strings.Repeat(" ", indent), base}, span{text, base}}
		}
		if detail := clean(c.Detail); i == len(lines)-1 && detail != "" {
			if room := s.w - l.width(); room > utf8.RuneCountInString(detail) {
				l = append(l, span{strings.Repeat(" ", room-utf8.RuneCountInString(detail)), base}, span{detail, dim})
			}
		}
		s.lines = append(s.lines, l)
	}
}
