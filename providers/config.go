package providers

// FieldError is one problem of an adapter's configuration. An adapter's
// Validate joins all of them (errors.Join), so that a technician sees them at
// once.
type FieldError struct {
	// Field is the path below the adapter's table, as written in the file, such
	// as "payer.document".
	Field   string
	Problem string // never quotes a credential or personal data
	Remedy  string // what to do about it
}

// Error is "field: problem; remedy".
func (e *FieldError) Error() string {
	s := e.Field + ": " + e.Problem
	if e.Remedy != "" {
		s += "; " + e.Remedy
	}
	return s
}
