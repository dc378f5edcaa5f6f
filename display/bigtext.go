package display

import (
	"strings"
	"unicode/utf8"
)

// font is bitmaps of large characters; # is lit. The last row hangs below the
// line, for the tail of a comma.
type font map[rune][]string

// large is the usual font, small the one for narrow places: digits only.
var (
	large = font{
		'0': {" ### ", "#   #", "#   #", "#   #", "#   #", "#   #", " ### ", "     "},
		'1': {"  #  ", " ##  ", "  #  ", "  #  ", "  #  ", "  #  ", " ### ", "     "},
		'2': {" ### ", "#   #", "    #", "  ## ", " #   ", "#    ", "#####", "     "},
		'3': {" ### ", "#   #", "    #", "  ## ", "    #", "#   #", " ### ", "     "},
		'4': {"#   #", "#   #", "#   #", "#####", "    #", "    #", "    #", "     "},
		'5': {"#####", "#    ", "#### ", "    #", "    #", "#   #", " ### ", "     "},
		'6': {" ### ", "#    ", "#    ", "#### ", "#   #", "#   #", " ### ", "     "},
		'7': {"#####", "    #", "   # ", "   # ", "  #  ", "  #  ", "  #  ", "     "},
		'8': {" ### ", "#   #", "#   #", " ### ", "#   #", "#   #", " ### ", "     "},
		'9': {" ### ", "#   #", "#   #", " ####", "    #", "    #", " ### ", "     "},
		'.': {"  ", "  ", "  ", "  ", "  ", "  ", "# ", "  "},
		',': {"  ", "  ", "  ", "  ", "  ", "  ", " #", "# "},
		'$': {"  #  ", " ####", "# #  ", " ### ", "  # #", "#### ", "  #  ", "     "},
		'A': {" ### ", "#   #", "#   #", "#####", "#   #", "#   #", "#   #", "     "},
		'D': {"#### ", "#   #", "#   #", "#   #", "#   #", "#   #", "#### ", "     "},
		'G': {" ### ", "#   #", "#    ", "#  ##", "#   #", "#   #", " ### ", "     "},
		'I': {"###", " # ", " # ", " # ", " # ", " # ", "###", "   "},
		'O': {" ### ", "#   #", "#   #", "#   #", "#   #", "#   #", " ### ", "     "},
		'P': {"#### ", "#   #", "#   #", "#### ", "#    ", "#    ", "#    ", "     "},
		'R': {"#### ", "#   #", "#   #", "#### ", "# #  ", "#  # ", "#   #", "     "},
		'X': {"#   #", "#   #", " # # ", "  #  ", " # # ", "#   #", "#   #", "     "},
	}
	small = font{
		'0': {"###", "# #", "# #", "# #", "###", "   "},
		'1': {" # ", "## ", " # ", " # ", "###", "   "},
		'2': {"###", "  #", "###", "#  ", "###", "   "},
		'3': {"###", "  #", "###", "  #", "###", "   "},
		'4': {"# #", "# #", "###", "  #", "  #", "   "},
		'5': {"###", "#  ", "###", "  #", "###", "   "},
		'6': {"###", "#  ", "###", "# #", "###", "   "},
		'7': {"###", "  #", "  #", "  #", "  #", "   "},
		'8': {"###", "# #", "###", "# #", "###", "   "},
		'9': {"###", "# #", "###", "  #", "###", "   "},
		'.': {" ", " ", " ", " ", "#", " "},
		',': {"  ", "  ", "  ", "  ", " #", "# "},
	}
)

// The large signs of the last screens: never a colour alone.
var (
	tick = []string{
		"            ##",
		"           ###",
		"          ### ",
		"         ###  ",
		"##      ###   ",
		"###    ###    ",
		" ###  ###     ",
		"  ######      ",
		"   ####       ",
		"    ##        ",
	}
	cross = []string{
		"##      ##",
		"###    ###",
		" ###  ### ",
		"  ######  ",
		"   ####   ",
		"   ####   ",
		"  ######  ",
		" ###  ### ",
		"###    ###",
		"##      ##",
	}
	exclamation = []string{
		" ## ",
		"####",
		"####",
		"####",
		" ## ",
		" ## ",
		"    ",
		" ## ",
		" ## ",
		"    ",
	}
)

// spell sets text in a font, one pixel apart; nil when a character is missing.
func (f font) spell(text string) []string {
	var rows []string
	for _, r := range text {
		g, ok := f[r]
		if !ok {
			return nil
		}
		rows = beside(rows, g, 1)
	}
	return rows
}

// beside joins two pictures, gap columns apart, the lower one in the middle of
// the height of the other.
func beside(a, b []string, gap int) []string {
	if len(a) == 0 {
		return b
	}
	h := max(len(a), len(b))
	at := func(p []string, y int) string {
		if y -= (h - len(p)) / 2; y >= 0 && y < len(p) {
			return p[y]
		}
		return strings.Repeat(" ", utf8.RuneCountInString(p[0]))
	}
	rows := make([]string, h)
	for y := range rows {
		rows[y] = at(a, y) + strings.Repeat(" ", gap) + at(b, y)
	}
	return rows
}

// blocks draws a bitmap scale times as large in half blocks: one column and
// half a row a pixel, so that pixels are about square.
func blocks(bitmap []string, scale int) []string {
	if len(bitmap) == 0 {
		return nil
	}
	lit := func(x, y int) bool {
		x, y = x/scale, y/scale
		return y < len(bitmap) && bitmap[y][x] == '#'
	}
	w, h := len(bitmap[0])*scale, len(bitmap)*scale
	var rows []string
	for y := 0; y < h; y += 2 {
		var b strings.Builder
		for x := range w {
			switch {
			case lit(x, y) && lit(x, y+1):
				b.WriteRune('█')
			case lit(x, y):
				b.WriteRune('▀')
			case lit(x, y+1):
				b.WriteRune('▄')
			default:
				b.WriteByte(' ')
			}
		}
		rows = append(rows, b.String())
	}
	return rows
}

// price draws a sum of money as on a price tag, the sign smaller than the
// digits, at most scale times as large as the font and w columns wide; nil when
// nothing fits.
func price(text string, w, scale int) []string {
	digits, ok := strings.CutPrefix(text, "R$\u00a0")
	if !ok || scale < 1 {
		return nil
	}
	tag := func(sign, figures []string, gap int) []string {
		if len(figures) == 0 {
			return nil
		}
		for len(sign) < len(figures) {
			sign = append(sign, strings.Repeat(" ", utf8.RuneCountInString(sign[0])))
		}
		if rows := beside(sign, figures, gap); utf8.RuneCountInString(rows[0]) <= w {
			return rows
		}
		return nil
	}
	for s := scale; s > 0; s-- {
		if rows := tag(blocks(large.spell("R$"), (s+1)/2), blocks(large.spell(digits), s), s+1); rows != nil {
			return rows
		}
	}
	if rows := tag([]string{"R$"}, blocks(large.spell(digits), 1), 1); rows != nil {
		return rows
	}
	figures := blocks(small.spell(digits), 1)
	if rows := tag([]string{"R$"}, figures, 1); rows != nil {
		return rows
	}
	if len(figures) > 0 && utf8.RuneCountInString(figures[0]) <= w {
		return append([]string{"R$"}, figures...)
	}
	return nil
}
