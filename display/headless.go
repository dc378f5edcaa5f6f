package display

import "context"

// Headless stands in for a Display where there is no terminal: it shows
// nothing and reports every View as handed over.
type Headless struct{ drawn func(Drawn) }

// NewHeadless returns a Headless that uses Options.Drawn and nothing else.
func NewHeadless(o Options) *Headless {
	h := &Headless{drawn: o.Drawn}
	if h.drawn == nil {
		h.drawn = func(Drawn) {}
	}
	return h
}

// Run blocks until ctx ends, and returns nil.
func (h *Headless) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Show reports v from the caller's goroutine, before it returns: no View is
// overtaken here, and QR is never true. The callback must not call Show.
func (h *Headless) Show(v View) { h.drawn(Drawn{View: v, HandedOver: true}) }
