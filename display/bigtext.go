package display

import "strings"

// glyphs are bitmaps of large characters, seven pixels high; # is lit.
var glyphs = map[rune][7]string{
	'0': {" ### ", "#   #", "#   #", "#   #", "#   #", "#   #", " ### "},
	'1': {"  #  ", " ##  ", "  #  ", "  #  ", "  #  ", "  #  ", " ### "},
	'2': {" ### ", "#   #", "    #", "  ## ", " #   ", "#    ", "#####"},
	'3': {" ### ", "#   #", "    #", "  ## ", "    #", "#   #", " ### "},
	'4': {"#   #", "#   #", "#   #", "#####", "    #", "    #", "    #"},
	'5': {"#####", "#    ", "#### ", "    #", "    #", "#   #", " ### "},
	'6': {" ### ", "#    ", "#    ", "#### ", "#   #", "#   #", " ### "},
	'7': {"#####", "    #", "   # ", "   # ", "  #  ", "  #  ", "  #  "},
	'8': {" ### ", "#   #", "#   #", " ### ", "#   #", "#   #", " ### "},
	'9': {" ### ", "#   #", "#   #", " ####", "    #", "    #", " ### "},
	'.': {" ", " ", " ", " ", " ", " ", "#"},
	',': {"  ", "  ", "  ", "  ", "  ", " #", "# "},
	'-': {"   ", "   ", "   ", "###", "   ", "   ", "   "},
	'$': {"  #  ", " ####", "# #  ", " ### ", "  # #", "#### ", "  #  "},
	'R': {"#### ", "#   #", "#   #", "#### ", "# #  ", "#  # ", "#   #"},
	'P': {"#### ", "#   #", "#   #", "#### ", "#    ", "#    ", "#    "},
	'I': {"###", " # ", " # ", " # ", " # ", " # ", "###"},
	'X': {"#   #", "#   #", " # # ", "  #  ", " # # ", "#   #", "#   #"},
	' ': {"  ", "  ", "  ", "  ", "  ", "  ", "  "},
}

// tick and cross are the large signs of the last screens.
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
		"  ######  ",
		" ###  ### ",
		"###    ###",
		"##      ##",
		"          ",
	}
)

// spell sets s in glyphs, one pixel apart. Characters without a glyph are left
// out.
func spell(s string) []string {
	rows := make([]string, 7)
	for _, r := range strings.ReplaceAll(s, "\u00a0", " ") {
		g, ok := glyphs[r]
		if !ok {
			continue
		}
		for i := range rows {
			if rows[i] != "" {
				rows[i] += " "
			}
			rows[i] += g[i]
		}
	}
	return rows
}

// blocks draws a bitmap scale times as large in half blocks: one column and
// half a row a pixel, so that pixels are about square.
func blocks(bitmap []string, scale int) []string {
	lit := func(x, y int) bool {
		x, y = x/scale, y/scale
		return y < len(bitmap) && x < len(bitmap[y]) && bitmap[y][x] == '#'
	}
	if len(bitmap) == 0 {
		return nil
	}
	w, h := len(bitmap[0])*scale, len(bitmap)*scale
	out := make([]string, 0, (h+1)/2)
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
		out = append(out, b.String())
	}
	return out
}
