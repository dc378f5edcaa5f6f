package qr

import qrcode "github.com/skip2/go-qrcode"

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
	levels := [2]Level{M, L}
	var codes [2]*qrcode.QRCode
	for i, level := range levels {
		codes[i], _ = plan(text, level)
	}
	for quiet := 4; quiet >= 2; quiet-- {
		for i, code := range codes {
			if code == nil {
				continue
			}
			if side := sizeOf(code) + 2*quiet; side <= cols && (side+1)/2 <= rows {
				return Fit{Matrix: draw(code), Level: levels[i], Quiet: quiet}, true
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
		code, err := plan(text, level)
		if err != nil {
			continue
		}
		module = min(maxModule, dots/(sizeOf(code)+2*quiet))
		if module >= max(1, minModule) {
			return Fit{Matrix: draw(code), Level: level, Quiet: quiet}, module, true
		}
	}
	return Fit{}, 0, false
}
