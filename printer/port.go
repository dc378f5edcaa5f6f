package printer

import (
	"io"
	"time"
)

// Port is the line to one printer. Reads and writes obey their deadlines (an
// expired one is [os.ErrDeadlineExceeded], with the count of what was done
// until then), and Close ends both. Any other error means that the line is
// gone: the Printer closes the port and opens a new one at the next Ready.
//
// A Port that also has the method
//
//	WriteOnly() bool
//
// and answers true has nobody at the other end who replies. It is asked
// nothing, and its jobs end as [Sent], tier [TierD].
type Port interface {
	io.ReadWriteCloser
	SetReadDeadline(t time.Time) error
	SetWriteDeadline(t time.Time) error
}
