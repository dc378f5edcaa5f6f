package printer

import (
	"crypto/sha256"
	"time"
)

// Job is one print job: bytes made by [NewJob] (or [Encode]), ready to be sent
// as they are, now or after a restart.
type Job struct {
	// ID names the job. The printer confirms under [ProcessID](ID), which the
	// bytes carry, so a reprint needs an ID of its own.
	ID string
	// Bytes is the whole job.
	Bytes []byte
	// Millimetres is the paper it needs: part of how long a confirmation may
	// take.
	Millimetres int
}

// NewJob encodes a document. Errors are those of [Encode].
func NewJob(id string, d Document, p Profile) (Job, error) {
	b, mm, err := encode(d, p, id)
	if err != nil {
		return Job{}, err
	}
	return Job{ID: id, Bytes: b, Millimetres: mm}, nil
}

// Encode turns a document into the bytes of one job for printers of the
// profile. The same arguments give the same bytes.
func Encode(d Document, p Profile, jobID string) ([]byte, error) {
	b, _, err := encode(d, p, jobID)
	return b, err
}

// ProcessID is the number under which the printer confirms a job: four bytes
// from 20 to 7E, taken from a hash of the job's id.
func ProcessID(jobID string) [4]byte {
	sum := sha256.Sum256([]byte(jobID))
	var id [4]byte
	for i := range id {
		id[i] = 0x20 + byte((int(sum[2*i])<<8|int(sum[2*i+1]))%95)
	}
	return id
}

// Outcome is how far a job got.
type Outcome int

// The outcomes.
const (
	// NotStarted: the line accepted no byte. The same job may be sent again.
	NotStarted Outcome = iota
	// Refused: no byte was sent and none will be: the bytes hold something
	// that must not reach a printer. Sending again is refused again.
	Refused
	// Sent: all bytes left, and there is nobody who could confirm (tier D).
	// Final; never to be called printed.
	Sent
	// Confirmed: the printer said so; Tier says how good its word is.
	Confirmed
	// Unknown: bytes left and no confirmation came. The slip may be on the
	// paper, may still come, or never. No other job may be sent before
	// [Printer.Resolve] says Confirmed or Drained.
	Unknown
)

// String is a stable word, such as "not_started".
func (o Outcome) String() string {
	switch o {
	case NotStarted:
		return "not_started"
	case Refused:
		return "refused"
	case Sent:
		return "sent"
	case Confirmed:
		return "confirmed"
	case Unknown:
		return "unknown"
	}
	return "invalid"
}

// Tier says what a confirmation rests on.
type Tier string

// The tiers in use. B (ordered barrier) and C (status and time) belong to
// printers that do not know process ids.
const (
	TierA Tier = "A" // the printer answered the job's own process id, after the cut
	TierD Tier = "D" // nothing: the bytes left the host
)

// Result is what is known of a job.
type Result struct {
	Outcome Outcome
	// Accepted is how many bytes of the job the line took. Resolve counts
	// those of the Print before it.
	Accepted int
	// Tier is set with Confirmed and Sent.
	Tier Tier
	// Reason says why it is not confirmed, for logs and operators.
	Reason string
	// Drained is set by Resolve with Unknown: the printer has worked off all
	// it received and this job was not confirmed, so no late slip will come
	// and other jobs may be sent. Whether this one is on the paper only eyes
	// can tell; a reprint says "2ª VIA".
	Drained bool
}

// waiting is how long a confirmation may take.
func (j Job) waiting(p Profile) time.Duration {
	return p.lineTime(len(j.Bytes)) + p.paperTime(j.Millimetres) + cutTime + slack
}

const (
	cutTime = 500 * time.Millisecond
	slack   = 2 * time.Second
)
