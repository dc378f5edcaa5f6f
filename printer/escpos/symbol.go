package escpos

// capacity is how many bytes a symbol of versions 1 to 20 holds in byte mode
// (ISO/IEC 18004, table 7). A printer lays the symbol out itself and may mix
// modes, which makes it smaller, not larger.
var capacity = map[Level][20]int{
	LevelL: {17, 32, 53, 78, 106, 134, 154, 192, 230, 271, 321, 367, 425, 458, 520, 586, 644, 718, 792, 858},
	LevelM: {14, 26, 42, 62, 84, 106, 122, 152, 180, 213, 251, 287, 331, 362, 412, 450, 504, 560, 624, 666},
}

const (
	maxVersion = 20
	quietZone  = 4 // modules on each side
)

// Modules is the side of the smallest symbol that holds n bytes at the level
// (L or M) in byte mode, or 0 when none of the versions up to 20 does.
func Modules(n int, level Level) int {
	for v, c := range capacity[level] {
		if n <= c {
			return 17 + 4*(v+1)
		}
	}
	return 0
}

// Fit chooses level and module size of a symbol of n bytes for paper of so
// many dots. It keeps room for the quiet zone on both sides, and for a symbol
// one version larger than needed: a printer that does not draw what does not
// fit draws nothing and says nothing. Level M is taken when its module is at
// least minModule dots, else level L; modules is the size that was reckoned
// with. Ok is false when neither fits.
func Fit(n, dots, minModule, maxModule int) (level Level, module, modules int, ok bool) {
	for _, l := range []Level{LevelM, LevelL} {
		m := Modules(n, l)
		if m == 0 {
			continue
		}
		m = min(m+4, 17+4*maxVersion)
		if px := min(dots/(m+2*quietZone), maxModule); px >= minModule {
			return l, px, m, true
		}
	}
	return 0, 0, 0, false
}
