package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ssg-safe/agent/printer"
	"github.com/ssg-safe/agent/printer/emulator"
)

// maxStream bounds what is read: more than a day of slips.
const maxStream = 16 << 20

func newReceiptCmd(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "receipt render",
		Short: "Show what a printer would make of a stream of bytes",
		Long: `These commands need no printer, no configuration and no network.

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Args: noArgs,
		RunE: needCommand,
	}
	cmd.AddCommand(newReceiptRenderCmd(g))
	return cmd
}

func newReceiptRenderCmd(g *globals) *cobra.Command {
	var file, name string
	var asText bool
	cmd := &cobra.Command{
		Use:   "render FILE|- [--png FILE | --text]",
		Short: "Print an ESC/POS stream on the virtual printer, as text or as pictures",
		Long: `Render reads ESC/POS bytes from a file, or from standard input with "-", prints
them on the built-in printer, and shows the slips that fall off its knife: as
text on standard output (--text, the default), or as PNG pictures with one pixel
a dot (--png; "-" is standard output, for a single slip).

A stream with several slips becomes several pictures: --png slip.png writes
slip-1.png, slip-2.png and so on. The names written go to standard output. What
was not cut counts as the last slip.

What a printer of the Epson family would not understand, or should not be sent,
is reported on the standard error stream with its place in the slip; the slip is
rendered all the same. --profile chooses the paper.

Exit codes: 0 done, 1 nothing printed or a file failed, 2 wrong usage.`,
		Example: `  ssg-agent receipt render demo/paper/slip-000001.bin
  ssg-agent receipt render capture.bin --png slip.png
  cat capture.bin | ssg-agent receipt render - --png slip.png --profile epson-58`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{fmt.Errorf("receipt render: %d arguments, want one file, or - for standard input\nSee '%s --help'", len(args), cmd.CommandPath())}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			png := cmd.Flags().Changed("png")
			profile, err := printer.ProfileByName(name)
			switch {
			case err != nil:
				return usageError{fmt.Errorf("receipt render: --profile: %w", err)}
			case asText && png:
				return usageError{errors.New("receipt render: --png and --text: want one of them")}
			case png && file == "":
				return usageError{errors.New("receipt render: --png: want the name of a file, or - for standard output")}
			}
			stream, err := readStream(g, args[0])
			if err != nil {
				return fmt.Errorf("receipt render: %w", err)
			}
			slips := emulator.Render(stream, profile.Dots)
			switch {
			case len(slips) == 0:
				return errors.New("receipt render: nothing was printed")
			case slips[0].Number > 1:
				return fmt.Errorf("receipt render: more than %d slips: split the stream", len(slips))
			}
			for _, s := range slips {
				for _, p := range s.Problems {
					fmt.Fprintf(g.stderr, "warning: slip %d, %s\n", s.Number, p)
				}
			}
			if !png {
				return writeSlips(g.stdout, slips)
			}
			return drawSlips(g.stdout, file, slips)
		},
	}
	f := cmd.Flags()
	f.StringVar(&file, "png", "", "write PNG pictures to this file, or to FILE-1, FILE-2, …")
	f.BoolVar(&asText, "text", false, "write the slips as text")
	f.StringVar(&name, "profile", "epson-80", "profile of the printer")
	return cmd
}

func readStream(g *globals, name string) ([]byte, error) {
	in := g.stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, maxStream+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxStream {
		return nil, fmt.Errorf("%s is longer than %d bytes", name, maxStream)
	}
	return b, nil
}

// writeSlips writes slips as text, with a line where the knife went.
func writeSlips(w io.Writer, slips []emulator.Slip) error {
	var b strings.Builder
	for i, s := range slips {
		if i > 0 {
			b.WriteString("- - - - - - - - - - - 8< - - - - - - - - - - -\n")
		}
		b.WriteString(s.Text())
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// drawSlips writes pictures and tells their names.
func drawSlips(stdout io.Writer, file string, slips []emulator.Slip) error {
	if file == "-" {
		if len(slips) > 1 {
			return fmt.Errorf("receipt render: %d slips do not go to standard output: name a file", len(slips))
		}
		return slips[0].PNG(stdout)
	}
	ext := filepath.Ext(file)
	for _, s := range slips {
		name := file
		if len(slips) > 1 {
			name = fmt.Sprintf("%s-%d%s", strings.TrimSuffix(file, ext), s.Number, ext)
		}
		var b bytes.Buffer
		if err := s.PNG(&b); err != nil {
			return fmt.Errorf("receipt render: %w", err)
		}
		if err := os.WriteFile(name, b.Bytes(), 0o644); err != nil {
			return fmt.Errorf("receipt render: %w", err)
		}
		if _, err := fmt.Fprintln(stdout, name); err != nil {
			return err
		}
	}
	return nil
}
