package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/ssg-safe/agent/pix"
	"github.com/ssg-safe/agent/pix/qr"
)

const (
	qrQuiet  = 4 // modules, ISO/IEC 18004
	qrPixels = 8 // per module in a picture
)

func newQRCmd(g *globals) *cobra.Command {
	var file, letter string
	var asText bool
	cmd := &cobra.Command{
		Use:   "qr CODE|- [--png FILE | --text]",
		Short: "Draw a code as a picture or as text",
		Long: `Qr draws a text as a QR symbol with a quiet zone of 4 modules: as half blocks on
standard output (--text, the default) or as a picture with 8 pixels a module
(--png; "-" is standard output). With "-" for CODE it reads standard input. The
text is drawn as it is; when it is no readable BR Code, a warning says so.

In half blocks the light modules are drawn, so they belong on a dark background.
On a terminal the colours are set, and a symbol wider than it is refused.

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Example: `  ssg-agent qr "$CODE"
  ssg-agent pix encode --key 12ABC34501DE35 --name Cofre --city Recife | ssg-agent qr - --png code.png`,
		Args: codeArg(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			level, err := qr.ParseLevel(letter)
			switch {
			case err != nil:
				return usageError{fmt.Errorf("qr: --level: %w", err)}
			case asText && cmd.Flags().Changed("png"):
				return usageError{errors.New("qr: --png and --text: want one of them")}
			case cmd.Flags().Changed("png") && file == "":
				return usageError{errors.New("qr: --png: want the name of a file, or - for standard output")}
			}
			text, err := readCode(g, args)
			if err != nil {
				return fmt.Errorf("qr: %w", err)
			}
			m, err := qr.New(text, level)
			if err != nil {
				return fmt.Errorf("qr: %w", err)
			}
			if _, err := pix.Parse(text); err != nil {
				fmt.Fprintf(g.stderr, "warning: no readable BR Code, payers cannot use it:\n%v\n", err)
			}
			if file == "" {
				return writeHalfBlocks(g.stdout, m)
			}
			return writePicture(g.stdout, file, m)
		},
	}
	f := cmd.Flags()
	f.StringVar(&file, "png", "", "write a PNG picture to this file")
	f.BoolVar(&asText, "text", false, "draw with half blocks")
	f.StringVar(&letter, "level", "M", "error correction: L, M, Q or H")
	return cmd
}

func writePicture(stdout io.Writer, file string, m *qr.Matrix) error {
	var b bytes.Buffer
	if err := m.PNG(&b, qrPixels, qrQuiet); err != nil {
		return fmt.Errorf("qr: %w", err)
	}
	if file == "-" {
		_, err := stdout.Write(b.Bytes())
		return err
	}
	if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
		return fmt.Errorf("qr: write picture: %w", err)
	}
	return nil
}

func writeHalfBlocks(w io.Writer, m *qr.Matrix) error {
	lines := m.HalfBlocks(qrQuiet)
	before, after := "", "\n"
	if columns, ok := terminalColumns(w); ok {
		if need := utf8.RuneCountInString(lines[0]); need > columns {
			return fmt.Errorf("qr: the symbol needs %d columns and the terminal has %d: use --level L or --png", need, columns)
		}
		before, after = "\x1b[38;5;231;48;5;16m", "\x1b[0m\n" // white on black, whatever the theme
	}
	_, err := io.WriteString(w, before+strings.Join(lines, after+before)+after)
	return err
}

// terminalColumns is the width of the terminal that w writes to; false when it
// writes to none.
func terminalColumns(w io.Writer) (int, bool) {
	f, ok := w.(*os.File)
	if !ok {
		return 0, false
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil || size.Col == 0 {
		return 0, false
	}
	return int(size.Col), true
}
