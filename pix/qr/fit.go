package qr

// Fit is a symbol chosen for a place.
type Fit struct {
	Matrix *Matrix
	Level  Level
	// Quiet is the quiet zone in modules, on each side.
	Quiet int
}

// FitCells chooses a symbol for a region of a terminal of cols columns and rows
// lines, drawn with [Matrix.HalfBlocks] and the quiet zone of the answer. It
// takes the first of (M,4) (L,4) (M,3) (L,3) (M,2) (L,2) that fits: a screen has
// no dirt, so correction is given up before margin. It is false when none fits
// or there is no symbol of the text; then the screen says so and draws nothing.
func FitCells(text string, cols, rows int) (Fit, bool) {
	var made [2]*Matrix // a symbol is costly: each level is made when its turn comes
	for quiet := 4; quiet >= 2; quiet-- {
		for i, level := range []Level{M, L} {
			if made[i] == nil {
				m, err := New(text, level)
				if err != nil {
					continue
				}
				made[i] = m
			}
			if side := made[i].Size() + 2*quiet; side <= cols && (side+1)/2 <= rows {
				return Fit{Matrix: made[i], Level: level, Quiet: quiet}, true
			}
		}
	}
	return Fit{}, false
}

// FitDots chooses a symbol for paper of the given printable width in dots: level
// M, or L where M does not fit, a quiet zone of 4 modules, and as many whole dots
// per module as the width allows, from minModule to maxModule. It is false when
// not even level L fits with minModule, or there is no symbol of the text.
func FitDots(text string, dots, minModule, maxModule int) (fit Fit, module int, ok bool) {
	const quiet = 4
	for _, level := range []Level{M, L} {
		m, err := New(text, level)
		if err != nil {
			continue
		}
		module = min(maxModule, dots/(m.Size()+2*quiet))
		if module >= max(1, minModule) {
			return Fit{Matrix: m, Level: level, Quiet: quiet}, module, true
		}
	}
	return Fit{}, 0, false
}
