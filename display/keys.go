package display

import (
	"time"

	"github.com/gdamore/tcell/v2"
)

const (
	// burst is the longest pause between two characters of a scanner, and
	// shorter than between two keys of a hand. A character is held back for
	// that long, to see whether it begins a scan.
	burst = 50 * time.Millisecond

	// held is the longest pause before the repeats of a key that is held down
	// begin. The terminal does not say when a key is let go.
	held = 700 * time.Millisecond
)

// keys makes key presses of a terminal's events. It belongs to one goroutine.
//
// Characters less than burst apart come from a barcode scanner or a held key:
// the whole burst is dropped, with the Enter that ends it. Confirm, Cancel and
// Help are delivered once, however long they are held; Backspace repeats.
type keys struct {
	out func(Key)

	waiting  Key       // the last character, if it may still begin a burst
	lastChar time.Time // when a character, or an Enter in a burst, came

	command     KeyKind // the last command, if nothing else was pressed since
	lastCommand time.Time
}

// press takes one event.
func (k *keys) press(ev *tcell.EventKey) {
	at := ev.When()
	if ev.Key() == tcell.KeyRune {
		if at.Sub(k.lastChar) < burst {
			k.waiting = Key{}
		} else {
			k.release(at)
			k.waiting = character(ev.Rune())
		}
		k.lastChar = at
		return
	}
	key := special(ev.Key())
	if key.Kind == Confirm && at.Sub(k.lastChar) < burst {
		k.waiting, k.lastChar = Key{}, at
		return
	}
	k.flush()
	k.deliver(key, at)
}

// due says how long after now a held-back character becomes a key press; false
// when none is waiting.
func (k *keys) due(now time.Time) (time.Duration, bool) {
	return max(0, k.lastChar.Add(burst).Sub(now)), k.waiting.Kind != 0
}

// release delivers the held-back character once its time has come.
func (k *keys) release(now time.Time) {
	if now.Sub(k.lastChar) >= burst {
		k.flush()
	}
}

func (k *keys) flush() {
	key := k.waiting
	k.waiting = Key{}
	k.deliver(key, k.lastChar)
}

func (k *keys) deliver(key Key, at time.Time) {
	switch key.Kind {
	case 0:
		return
	case Confirm, Cancel, Help:
		repeated := key.Kind == k.command && at.Sub(k.lastCommand) < held
		k.command, k.lastCommand = key.Kind, at
		if repeated {
			return
		}
	default:
		k.command = 0
	}
	k.out(key)
}

// character is the key of a printable character.
func character(r rune) Key {
	switch {
	case r >= '0' && r <= '9':
		return Key{Kind: Digit, Digit: int(r - '0')}
	case r == '#':
		return Key{Kind: Confirm}
	case r == '*':
		return Key{Kind: Cancel}
	case r == '?':
		return Key{Kind: Help}
	}
	return Key{}
}

// special is the key of everything that is no character.
func special(k tcell.Key) Key {
	switch k {
	case tcell.KeyEnter, tcell.KeyCtrlJ:
		return Key{Kind: Confirm}
	case tcell.KeyEscape:
		return Key{Kind: Cancel}
	case tcell.KeyBackspace, tcell.KeyBackspace2, tcell.KeyDelete:
		return Key{Kind: Backspace}
	case tcell.KeyF1:
		return Key{Kind: Help}
	case tcell.KeyCtrlC:
		return Key{Kind: Interrupt}
	}
	return Key{}
}
