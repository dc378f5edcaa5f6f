package display

// Codes for View.ErrorCode, as payers read them out to support. They never
// change their meaning.
const (
	ErrNetwork   = "E10" // the provider cannot be reached
	ErrProvider  = "E11" // the provider refused or failed
	ErrCode      = "E12" // the provider's code is wrong: other amount, host or checksum
	ErrPayerData = "E13" // the provider requires the payer's data, and there are none
	ErrUncertain = "E14" // it is not known whether the provider made the charge
	ErrMismatch  = "E15" // a payment arrived that does not match the charge
	ErrStorage   = "E20" // the store failed or is read-only
	ErrFull      = "E21" // the store is full: nothing new is accepted
	ErrPrinter   = "E30" // the printer failed
	ErrFit       = "E31" // the code does not fit this screen, and there is no paper
	ErrClock     = "E40" // the clock is wrong
	ErrInternal  = "E99" // a fault in the agent itself
)
