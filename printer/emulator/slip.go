package emulator

import (
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"os"
	"strings"
)

// Slip is one piece of paper that fell off the knife. It is a value that does
// not change any more; what it points to is shared and must not be changed.
type Slip struct {
	// Number counts from 1 over the life of the printer, which is that of
	// Config.Dir if there is one.
	Number int
	// ProcessIDs are the ids that the printer answered for it, in order.
	ProcessIDs [][4]byte
	// Bytes is what made it, without real-time commands and padding.
	Bytes []byte
	// Problems are what a printer would not have understood, or should not be
	// sent.
	Problems []Problem
	// BytesFile and PNGFile are where it is stored; empty without Config.Dir.
	BytesFile, PNGFile string

	lines []string
	dots  int
	bits  []byte
}

// Problem is something wrong in a stream.
type Problem struct {
	Offset int // in the bytes of the slip
	What   string
}

// String is one line for people.
func (p Problem) String() string { return fmt.Sprintf("byte %d: %s", p.Offset, p.What) }

// Text is what the slip says, one line a line, with a code as
// "[QR level M, 45 modules of 6 dots: …]".
func (s Slip) Text() string {
	if len(s.lines) == 0 {
		return ""
	}
	return strings.Join(s.lines, "\n") + "\n"
}

// The colours of paper and print, and what is no paper.
var palette = color.Palette{
	color.NRGBA{},
	color.NRGBA{0xfd, 0xfc, 0xf7, 0xff},
	color.NRGBA{0x1d, 0x1b, 0x22, 0xff},
}

const (
	outside = iota
	paper
	ink
)

const tooth = 8 // dots, of the edge that the knife leaves

// Image draws the slip, one pixel a dot, on paper with its margins. Beyond the
// edge of the paper it is transparent.
func (s Slip) Image() image.Image { return s.image() }

func (s Slip) image() *image.Paletted {
	stride := s.dots / 8
	margin := 4 * dotsPerMM // 80 mm paper prints 72 mm
	if s.dots < 500 {
		margin = 5 * dotsPerMM // 58 mm paper prints 48 mm
	}
	rows := 0
	if stride > 0 {
		rows = len(s.bits) / stride
	}
	width, height := s.dots+2*margin, rows+2*tooth
	img := image.NewPaletted(image.Rect(0, 0, width, height), palette)
	for y := range height {
		line := img.Pix[y*img.Stride : y*img.Stride+width]
		for x := range line {
			depth := abs(x%(2*tooth) - tooth) // of the tooth here
			if y >= depth && y < height-depth {
				line[x] = paper
			}
		}
		if row := y - tooth; row >= 0 && row < rows {
			bits := s.bits[row*stride : (row+1)*stride]
			for x := range s.dots {
				if bits[x/8]&(0x80>>(x%8)) != 0 {
					line[margin+x] = ink
				}
			}
		}
	}
	return img
}

func abs(n int) int { return max(n, -n) }

// PNG writes the picture of the slip. A slip that was found in Config.Dir is
// copied from there.
func (s Slip) PNG(w io.Writer) error {
	if s.bits == nil && s.PNGFile != "" {
		f, err := os.Open(s.PNGFile)
		if err != nil {
			return err
		}
		_, err = io.Copy(w, f)
		return errors.Join(err, f.Close())
	}
	enc := png.Encoder{CompressionLevel: png.BestSpeed}
	return enc.Encode(w, s.image())
}
