// Package qr is the QR matrix.
package qr

import (
	"errors"
	"image"
	"io"
)

var errNotYet = errors.New("qr: not built yet")

// Level is an error-correction level.
type Level int

// The levels.
const (
	L Level = iota
	M
	Q
	H
)

// Matrix is a QR symbol.
type Matrix struct{}

// New makes a symbol.
func New(text string, level Level) (*Matrix, error) { return nil, errNotYet }

// Size is the modules per side.
func (m *Matrix) Size() int { return 0 }

// Dark tells a module.
func (m *Matrix) Dark(x, y int) bool { return false }

// HalfBlocks is the symbol as text.
func (m *Matrix) HalfBlocks(quiet int) []string { return nil }

// Image is the symbol as a picture.
func (m *Matrix) Image(px, quiet int) *image.Paletted { return nil }

// PNG writes the picture.
func (m *Matrix) PNG(w io.Writer, px, quiet int) error { return errNotYet }

// Fit is a symbol that fits.
type Fit struct {
	Matrix *Matrix
	Level  Level
	Quiet  int
}

// FitCells fits a screen.
func FitCells(text string, cols, rows int) (Fit, bool) { return Fit{}, false }

// FitDots fits paper.
func FitDots(text string, dots, minModule, maxModule int) (fit Fit, module int, ok bool) {
	return Fit{}, 0, false
}
