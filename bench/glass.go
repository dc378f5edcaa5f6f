package main

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// glass is what a console would show: just enough of a terminal to read the
// agent's screen, on which only cells that changed are drawn anew.
type glass struct {
	cells    [rows][columns]rune
	row, col int
	rest     string // an unfinished sequence
}

// write takes what was drawn.
func (g *glass) write(p []byte) {
	s := g.rest + string(p)
	for s != "" {
		n := g.step(s)
		if n == 0 {
			break
		}
		s = s[n:]
	}
	g.rest = s
}

// step takes one character or sequence and returns its length; 0: there is more
// of it to come.
func (g *glass) step(s string) int {
	switch {
	case s[0] == '\x1b':
		return g.escape(s)
	case s[0] == '\r':
		g.col = 0
	case s[0] == '\n':
		g.row = min(g.row+1, rows-1)
	case s[0] == '\b':
		g.col = max(g.col-1, 0)
	case s[0] < ' ':
	default:
		if !utf8.FullRuneInString(s) {
			return 0
		}
		r, n := utf8.DecodeRuneInString(s)
		if g.row < rows && g.col < columns {
			g.cells[g.row][g.col] = r
		}
		g.col++
		return n
	}
	return 1
}

// escape takes a sequence; it obeys those that move the cursor or clear.
func (g *glass) escape(s string) int {
	if len(s) < 2 {
		return 0
	}
	if s[1] != '[' {
		if strings.IndexByte("()", s[1]) >= 0 { // a character set and its name
			return min(3, len(s)/3*3)
		}
		return 2
	}
	end := strings.IndexFunc(s[2:], func(r rune) bool { return r >= '@' && r <= '~' })
	if end < 0 {
		return 0
	}
	args := strings.Split(s[2:2+end], ";")
	arg := func(i int) int {
		if i >= len(args) {
			return 1
		}
		n, _ := strconv.Atoi(args[i]) // absent is 1
		return max(n, 1)
	}
	switch s[2+end] {
	case 'H', 'f':
		g.row, g.col = min(arg(0), rows)-1, min(arg(1), columns)-1
	case 'C':
		g.col = min(g.col+arg(0), columns-1)
	case 'J':
		g.cells = [rows][columns]rune{}
	}
	return end + 3
}

// shows reports whether a line of the screen holds the text.
func (g *glass) shows(text string) bool {
	for i := range g.cells {
		if strings.Contains(g.line(i), text) {
			return true
		}
	}
	return false
}

func (g *glass) line(i int) string {
	var b strings.Builder
	for _, r := range g.cells[i] {
		b.WriteRune(max(r, ' '))
	}
	return b.String()
}

// String is the screen's text without empty lines.
func (g *glass) String() string {
	var b strings.Builder
	for i := range g.cells {
		if line := strings.TrimRight(g.line(i), " "); line != "" {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}
