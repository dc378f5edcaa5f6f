// Package device is what the terminal knows of the machine it runs on: its
// serial ports, its clock and its identity.
//
// [OpenSerial] opens a serial line that obeys deadlines, is never shared with
// another process of ours, and always closes. [Clock] gives the time with an
// honest word on how far it may be trusted. [LoadIdentity] reads the key the
// terminal signs with.
//
// # Serial ports and tarm/serial
//
// The line is set up by github.com/tarm/serial, whose port object has three
// properties a payment terminal cannot live with: a time-out and a hang-up are
// both (0, io.EOF), a write blocks for ever when the other side stops it (and
// Close then hangs as well), and a second open succeeds and resets the first
// one's settings. So a [Serial] keeps a descriptor of its own:
//
//  1. it opens the device O_NONBLOCK, which gives it to Go's poller;
//  2. it takes an exclusive flock, before anything touches the settings;
//  3. tarm/serial opens the device a second time, writes the line settings,
//     and is closed: the settings belong to the line, not to the descriptor;
//  4. flow control, which tarm/serial has not, is added by termios and read
//     back, because drivers drop what they cannot do without an error.
//
// Non-blocking mode belongs to the open file, so tarm's switch back to blocking
// does not reach ours. Reads and writes then stop at their deadlines with the
// count so far and [os.ErrDeadlineExceeded]; a hang-up is [ErrHangUp]; nothing
// needs /proc, unsafe or a fork of the library.
//
// The lock keeps our own processes apart. It does not stop foreign programs
// (ModemManager, brltty): remove those from a kiosk. TIOCEXCL is not used: it
// does not bind root either, and on a pseudo-terminal it outlives a killed
// process.
//
// # Time
//
// Boards without a battery clock boot in the past, and fleets jump by months.
// Nothing here is for ordering (that is the ledger's sequence); [Clock] stamps
// records with the wall time, the boot and the boot-time clock, and says
// whether the wall time is believed.
package device
