package main

import (
	"image/png"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/ssg-safe/agent/printer"
)

// TestVirtualPaper: the virtual printer's paper is as wide as the profile's.
func TestVirtualPaper(t *testing.T) {
	width := func(profile string) int {
		t.Helper()
		dir := t.TempDir()
		p, err := openPrinter(PrinterConfig{Kind: "virtual", Path: dir, Profile: profile}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		paper, err := printer.ProfileByName(profile)
		if err != nil {
			t.Fatal(err)
		}
		job, err := printer.NewJob("1", printer.Document{Blocks: []printer.Block{printer.Text{Text: "São João"}, printer.Cut{}}}, paper)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		if r := p.Print(t.Context(), job); r.Outcome != printer.Confirmed {
			t.Fatalf("the slip is %+v", r)
		}
		f, err := os.Open(filepath.Join(dir, "slip-000001.png"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		picture, err := png.DecodeConfig(f)
		if err != nil {
			t.Fatal(err)
		}
		return picture.Width
	}
	if wide, narrow := width("epson-80"), width("epson-58"); wide < 576 || narrow < 384 || narrow >= 576 {
		t.Errorf("the papers are %d and %d dots wide, want 576 and 384 with their margins", wide, narrow)
	}
}
