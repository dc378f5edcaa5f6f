package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

// pictures is where plots lie, beside the document.
const pictures = "pictures"

// section is what one figure says: Markdown, its plots by the names of their
// files, and the targets it missed.
type section struct {
	text   strings.Builder
	plots  map[string]string
	missed []string
}

// picture adds a plot.
func (s *section) picture(name, title, svg string) {
	file := "bench-" + name + ".svg"
	if s.plots == nil {
		s.plots = map[string]string{}
	}
	s.plots[file] = svg
	s.say("![%s](%s/%s)", title, pictures, file)
}

// say adds a paragraph.
func (s *section) say(format string, args ...any) {
	fmt.Fprintf(&s.text, format+"\n\n", args...)
}

// table adds a table; its first row is the head.
func (s *section) table(rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	line := func(cells []string, fill string) {
		for i, w := range widths {
			cell := ""
			if i < len(cells) {
				cell = cells[i]
			}
			fmt.Fprintf(&s.text, "| %s%s ", cell, strings.Repeat(fill, w-utf8.RuneCountInString(cell)))
		}
		s.text.WriteString("|\n")
	}
	line(rows[0], " ")
	line(nil, "-")
	for _, row := range rows[1:] {
		line(row, " ")
	}
	s.text.WriteString("\n")
}

// target says whether a target was met, and notes the one that was not.
func (s *section) target(what string, met bool) string {
	if met {
		return what + ": met"
	}
	s.missed = append(s.missed, what)
	return what + ": **missed**"
}

// replace puts text between the markers of a figure in a document.
//
//	<!-- bench:NAME -->
//	…
//	<!-- /bench:NAME -->
func replace(document, name, text string) (string, error) {
	begin, end := "<!-- bench:"+name+" -->\n", "<!-- /bench:"+name+" -->"
	head, rest, ok := strings.Cut(document, begin)
	if !ok {
		return "", fmt.Errorf("no line %q", strings.TrimSpace(begin))
	}
	_, tail, ok := strings.Cut(rest, end)
	if !ok {
		return "", fmt.Errorf("no line %q", end)
	}
	return head + begin + "\n" + strings.TrimSpace(text) + "\n\n" + end + tail, nil
}

// writeDocument puts sections into a file, in one replacement of it, after their
// pictures.
func writeDocument(path string, sections map[string]*section) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	text := string(raw)
	var errs []error
	for name, s := range sections {
		next, err := replace(text, name, s.text.String())
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: figure %s: %w", path, name, err))
			continue
		}
		text = next
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, s := range sections {
		for file, svg := range s.plots {
			if err := write(filepath.Join(filepath.Dir(path), pictures, file), svg); err != nil {
				return err
			}
		}
	}
	return write(path, text)
}

func write(path, text string) error {
	temp := path + ".tmp"
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(temp, []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(temp, path)
}
