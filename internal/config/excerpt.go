package config

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// hiding is how a value is kept out of excerpts.
type hiding int

const (
	shown    hiding = iota
	drop            // comments: nothing in their place
	personal        // letters and digits become stars; the form stays visible
	secret          // [secret]
	unknown         // an ellipsis: nobody knows what the value is
)

type hiddenSpan struct {
	span
	how hiding
}

// hide keeps a value, with all that is in it, out of the excerpts.
func (f *File) hide(n *node, how hiding) {
	if n == nil {
		return
	}
	if n.value.len() > 0 {
		f.hidden = append(f.hidden, hiddenSpan{n.value, how})
		return
	}
	for _, name := range n.names {
		f.hide(n.fields[name], how)
	}
	for _, item := range n.items {
		f.hide(item, how)
	}
}

// position is the line and column, from 1 and in characters, of an offset.
func position(src []byte, offset int) (line, column int) {
	before := src[:min(offset, len(src))]
	line = bytes.Count(before, []byte("\n")) + 1
	before = before[bytes.LastIndexByte(before, '\n')+1:]
	return line, utf8.RuneCount(before) + 1
}

// lineOf is the line that an offset is in, without its end.
func lineOf(src []byte, offset int) span {
	offset = min(offset, len(src))
	begin := bytes.LastIndexByte(src[:offset], '\n') + 1
	end := len(src)
	if i := bytes.IndexByte(src[begin:], '\n'); i >= 0 {
		end = begin + i
	}
	if end > begin && src[end-1] == '\r' {
		end--
	}
	return span{begin, end}
}

// excerptWidth is how many characters of a line are shown around the place.
const excerptWidth = 120

// userInfo finds passwords in URLs.
var userInfo = regexp.MustCompile(`://[^/\s"']*@`)

// excerpt is the line of a place, with a caret under it.
func (f *File) excerpt(at span) string {
	if len(f.src) == 0 {
		return ""
	}
	whole := lineOf(f.src, at.start)
	text, from, to := f.masked(whole, span{min(at.start, whole.end), min(at.end, whole.end)})
	line, _ := position(f.src, whole.start)
	number := fmt.Sprintf("%5d", line)

	runes := []rune(text)
	to = max(to, from+1)
	if len(runes) > excerptWidth {
		cut := max(0, min(from-excerptWidth/2, len(runes)-excerptWidth))
		runes = runes[cut:min(len(runes), cut+excerptWidth)]
		from, to = from-cut, min(to-cut, excerptWidth)
	}
	var pad strings.Builder
	for i := range from {
		if i < len(runes) && runes[i] == '\t' {
			pad.WriteByte('\t')
			continue
		}
		pad.WriteByte(' ')
	}
	shown := strings.TrimRight(fmt.Sprintf("%s | %s", number, string(runes)), " ")
	return fmt.Sprintf("%s\n%s | %s%s", shown, strings.Repeat(" ", len(number)), pad.String(), strings.Repeat("^", to-from))
}

// masked is a line with its hidden parts replaced, and where in it, counted in
// characters, the given place begins and ends.
func (f *File) masked(line, at span) (text string, from, to int) {
	from, to = -1, -1
	var out []rune
	emit := func(i int, piece string) {
		// A place inside of a replaced piece is the whole piece.
		if from < 0 && at.start < i {
			from = len(out)
		}
		out = append(out, []rune(printable(piece))...)
		if to < 0 && at.end <= i {
			to = len(out)
		}
	}
	spans := f.hiddenIn(line)
	for i := line.start; i < line.end; {
		if len(spans) > 0 && spans[0].start <= i {
			s := spans[0]
			spans = spans[1:]
			if s.end <= i { // inside of one that is hidden already
				continue
			}
			emit(s.end, replacement(f.src[i:s.end], s.how))
			i = s.end
			continue
		}
		_, n := utf8.DecodeRune(f.src[i:line.end])
		emit(i+n, string(f.src[i:i+n]))
		i += n
	}
	for len(out) > 0 && unicode.IsSpace(out[len(out)-1]) {
		out = out[:len(out)-1]
	}
	if from < 0 {
		from = len(out)
	}
	if to < 0 {
		to = len(out)
	}
	return string(out), min(from, len(out)), min(to, len(out))
}

// hiddenIn lists what is hidden in a line, in order and cut to the line.
func (f *File) hiddenIn(line span) []hiddenSpan {
	var spans []hiddenSpan
	text := f.src[line.start:line.end]
	if f.blind {
		// No tree says what this is: only headers, and what precedes an equals
		// sign, are certainly no values.
		from := bytes.IndexByte(text, '=') + 1
		if bytes.HasPrefix(bytes.TrimLeft(text, " \t"), []byte("[")) {
			before, _, _ := bytes.Cut(text, []byte("#"))
			from = len(before)
		}
		if from < len(text) {
			spans = append(spans, hiddenSpan{span{line.start + from, line.end}, unknown})
		}
	}
	for _, m := range userInfo.FindAllIndex(text, -1) {
		spans = append(spans, hiddenSpan{span{line.start + m[0] + len("://"), line.start + m[1] - 1}, unknown})
	}
	for _, h := range f.hidden {
		if h.start < line.end && h.end > line.start {
			spans = append(spans, hiddenSpan{span{max(h.start, line.start), min(h.end, line.end)}, h.how})
		}
	}
	slices.SortStableFunc(spans, func(a, b hiddenSpan) int {
		if a.start != b.start {
			return a.start - b.start
		}
		return b.end - a.end
	})
	return spans
}

func replacement(text []byte, how hiding) string {
	switch how {
	case drop:
		return ""
	case secret:
		return "[secret]"
	case personal:
		return stars(string(text))
	}
	return "…"
}

// stars hides letters and digits and leaves the form of a text.
func stars(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) || r == '@' {
			return '*'
		}
		return r
	}, text)
}

// quotable is a message that may hold text of the file.
func quotable(message string) string {
	return userInfo.ReplaceAllString(printable(message), "://…@")
}

// printable keeps what is in a file from moving the cursor of the terminal that
// shows it.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\t' {
			return '·'
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
}

// clip shortens text of the file that a message quotes.
func clip(text string) string {
	const most = 60
	if utf8.RuneCountInString(text) <= most {
		return text
	}
	return string([]rune(text)[:most-1]) + "…"
}
