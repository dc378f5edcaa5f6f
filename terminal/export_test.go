package terminal

import "context"

// Held counts the charges in memory.
func (t *Terminal) Held(ctx context.Context) (n int, err error) {
	err = t.ask(ctx, func() { n = len(t.charges) })
	return n, err
}
