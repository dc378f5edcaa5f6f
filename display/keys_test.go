package display

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gdamore/tcell/v2"
	"github.com/google/go-cmp/cmp"
)

// spelled is a key in a letter.
func spelled(k Key) string {
	switch k.Kind {
	case Digit:
		return string(rune('0' + k.Digit))
	case Backspace:
		return "<"
	case Confirm:
		return "!"
	case Cancel:
		return "x"
	case Help:
		return "?"
	case Interrupt:
		return "^"
	}
	return "(unknown)"
}

// TestKeys types on a screen. A script is keys with pauses: "12" at once,
// ",60" waits 60 ms.
func TestKeys(t *testing.T) {
	type press struct {
		after time.Duration
		key   tcell.Key
		r     rune
	}
	char := func(after time.Duration, r rune) press { return press{after * time.Millisecond, tcell.KeyRune, r} }
	key := func(after time.Duration, k tcell.Key) press { return press{after * time.Millisecond, k, 0} }
	scan := func(s string, every time.Duration) []press {
		var ps []press
		for _, r := range s {
			ps = append(ps, char(every, r))
		}
		return ps
	}
	const enter, esc, back = tcell.KeyEnter, tcell.KeyEscape, tcell.KeyBackspace2
	for _, tc := range []struct {
		name    string
		presses []press
		want    string
	}{
		{"typed by hand", []press{char(0, '1'), char(120, '0'), char(50, '5'), key(200, enter)}, "105!"},
		{"a scan and its enter", append(scan("7891000315507", 3), key(3, enter)), ""},
		{"a slow scan", append(scan("789100031", 45), key(49, enter)), ""},
		{"two characters at once", []press{char(100, '1'), char(0, '2')}, ""},
		{"a scan between digits", append(append([]press{char(0, '1'), char(80, '2')}, press{after: 100 * time.Millisecond, key: tcell.KeyRune, r: '9'}), append(scan("91000", 5), char(80, '3'))...), "123"},
		{"enter and line feed of a scanner", []press{char(0, '4'), char(5, '2'), key(5, enter), key(5, tcell.KeyCtrlJ)}, ""},
		{"enter right after a digit", []press{char(0, '4'), key(20, enter)}, ""},
		{"enter after a digit by hand", []press{char(0, '4'), key(50, enter)}, "4!"},
		{"held enter", []press{key(0, enter), key(500, enter), key(33, enter), key(33, enter), key(33, enter)}, "!"},
		{"enter twice, slowly", []press{key(0, enter), key(700, enter)}, "!!"},
		{"enter, digit, enter", []press{key(0, enter), char(100, '7'), key(100, enter)}, "!7!"},
		{"held esc", []press{key(0, esc), key(400, esc), key(30, esc)}, "x"},
		{"enter then esc", []press{key(0, enter), key(100, esc)}, "!x"},
		{"held backspace repeats", []press{key(0, back), key(400, back), key(30, back)}, "<<<"},
		{"backspace right after a digit", []press{char(0, '8'), key(10, back)}, "8<"},
		{"delete and the other backspace", []press{key(0, tcell.KeyDelete), key(100, tcell.KeyBackspace)}, "<<"},
		{"telephone keypad", []press{char(0, '9'), char(100, '#'), char(100, '*')}, "9!x"},
		{"held star", []press{char(0, '*'), char(400, '*'), char(100, '*')}, "x"},
		{"help", []press{key(0, tcell.KeyF1), char(900, '?')}, "??"},
		{"ctrl-c", []press{key(0, tcell.KeyCtrlC)}, "^"},
		{"letters and arrows", []press{char(0, 'a'), key(100, tcell.KeyUp), char(100, ','), char(100, '5')}, "5"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var got strings.Builder
				screen := simulation(t, 80, 25)
				started(t, New(Options{Screen: screen, Keys: func(k Key) { got.WriteString(spelled(k)) }}))
				for _, p := range tc.presses {
					time.Sleep(p.after)
					screen.InjectKey(p.key, p.r, tcell.ModNone)
					synctest.Wait()
				}
				time.Sleep(burst)
				synctest.Wait()
				if got.String() != tc.want {
					t.Errorf("got %q, want %q", got.String(), tc.want)
				}
			})
		})
	}
}

// TestKeysHaveDeadlines: a character is held back for exactly the length of a
// burst, a command not at all.
func TestKeysHaveDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []time.Duration
		start := time.Now()
		screen := simulation(t, 80, 25)
		started(t, New(Options{Screen: screen, Keys: func(Key) { got = append(got, time.Since(start)) }}))
		screen.InjectKey(tcell.KeyRune, '1', tcell.ModNone)
		time.Sleep(time.Second)
		screen.InjectKey(tcell.KeyEnter, 0, tcell.ModNone)
		synctest.Wait()
		if diff := cmp.Diff(got, []time.Duration{burst, time.Second}); diff != "" {
			t.Errorf("delivered at (-got +want):\n%s", diff)
		}
	})
}
