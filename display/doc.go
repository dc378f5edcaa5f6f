// Package display draws the payer's screens, and the pages of the operator menu, on
// a text terminal: a Linux console in a kiosk, a terminal emulator on a desk, a
// serial console.
//
// It is a view and decides nothing. The caller hands it plain values with Show
// and gets back key presses and the word that a View is on the screen. It may
// die and start again without touching a charge; no money travels through it.
//
//	d := display.New(display.Options{Keys: inbox.Key, Drawn: inbox.Drawn})
//	go d.Run(ctx)                 // ErrNoTerminal: use NewHeadless instead
//	d.Show(display.View{State: display.Idle})
//
// # Three goroutines
//
// Run waits: for its context, for a hang-up, for a panic. It alone ends the
// terminal, under a deadline, because tcell can wait for ever: for a tty that
// takes no output, or for its own queues under a flood of input. Then the tty's
// mode is put back past tcell.
//
// One goroutine drains the terminal's queue as long as the terminal is open,
// also while it is being closed: a full queue makes tcell's Fini hang. It turns
// characters into keys, see below.
//
// One goroutine draws. Show leaves the newest View in a slot and wakes it. It
// lays out a canvas of cells, hands over the cells that differ from the last
// canvas, and sleeps until the next View or the next step of an animation: a
// quarter of a second for a walking square, a second for the countdown, a minute
// for a clock. Once a minute, and when the size changes, everything is repainted,
// because kernel messages and hot-plugged fonts disturb a console.
//
// # Layout
//
// A screen is composed at eight levels of roominess until it fits: large figures
// and signs shrink, then gaps, then what can be missed goes. Texts are wrapped,
// never cut; only names from outside end in "..." where their line does. Below 36
// by 14 cells there is only a message.
//
// # Codes
//
// A code is on the screen whole, with a quiet zone of at least two modules, or
// not at all. Light modules are bold white blocks on black: as a background white
// is grey on a console of eight colours, and without both colours set a theme may
// invert the symbol, which no decoder reads. The symbol lies beside the text, or
// between the texts where the screen is upright; what is too large for that gets
// the whole height. When nothing fits, the screen points at the printed code
// (View.Printed), else it says that there is none; Drawn.QR tells the caller. The
// symbol is computed once for a code and a size, never for a frame.
//
// # Keys
//
// Digits arrive 50 ms late: characters closer together than that are a barcode
// scanner's and are dropped with the Enter that ends them. Scripts that type must
// leave such pauses. A held Enter, Esc or F1 counts once.
//
// # Limits
//
// A console font without half blocks is not noticed here. The locale has to be
// UTF-8 (LC_ALL=C.UTF-8), TERM right, NO_COLOR unset. When the terminal is the
// process's controlling one its hang-up is also a SIGHUP, which ends a process
// that does not ignore it.
package display
