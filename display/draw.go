package display

import (
	"context"
	"time"
)

// pen is what the drawing goroutine keeps between two pictures.
type pen struct {
	*session
	painter     painter
	theme       theme
	front, back canvas // on the screen; to be
}

// draw shows the newest View, and its animation, until ctx ends.
func (s *session) draw(ctx context.Context) {
	p := &pen{
		session: s,
		painter: painter{
			t:        locale(s.opts.Locale),
			title:    clean(s.opts.Title),
			support:  s.opts.Support,
			hint:     clean(s.opts.Hint),
			demo:     s.opts.Demo,
			coloured: s.screen.Colors() >= 8,
		},
		theme: newTheme(s.screen.Colors()),
	}
	if !p.painter.coloured {
		s.log.Warn("terminal without colours: no code can be shown (is NO_COLOR set?)")
	}
	s.screen.SetStyle(p.theme[base])
	s.screen.HideCursor()

	next := time.NewTimer(0)
	defer next.Stop()
	everything := time.NewTicker(syncEvery)
	defer everything.Stop()
	for all := true; ; {
		next.Reset(p.picture(all))
		all = false
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-s.redraw:
			all = true
		case <-everything.C:
			all = true
		case <-next.C:
		}
	}
}

// picture brings the screen up to date and says when it will not be any more.
// all repaints cells that should not have changed, too.
func (p *pen) picture(all bool) time.Duration {
	// First, because the View with the code is there when its symbol is made, and
	// can be painted at once.
	if ahead := p.newest().view.Ahead; ahead != "" {
		w, h := p.screen.Size()
		p.painter.lay(ahead, w, h)
	}
	sh := p.newest()
	m := moment{elapsed: time.Since(sh.at), now: p.opts.Now()}
	var qr, settled bool
	// The size is read again by the very Show that uses it.
	for range 3 {
		w, h := p.screen.Size()
		p.back.reset(w, h)
		qr = p.painter.paint(&p.back, sh.view, m)
		changed := p.transfer()
		switch {
		case all:
			p.screen.Sync()
		case changed:
			p.screen.Show()
		}
		w2, h2 := p.screen.Size()
		if settled = w2 == w && h2 == h; settled {
			break
		}
		all = true
	}
	p.report(Drawn{View: sh.view, QR: qr && settled}, sh.n)
	return animated(sh.view, m)
}

// transfer gives the terminal the cells that differ and reports whether any do.
func (p *pen) transfer() bool {
	same := p.front.w == p.back.w && p.front.h == p.back.h
	changed := false
	for i, c := range p.back.cells {
		if same && p.front.cells[i] == c {
			continue
		}
		p.screen.SetContent(i%p.back.w, i/p.back.w, c.r, nil, p.theme[c.role])
		changed = true
	}
	p.front, p.back = p.back, p.front
	return changed
}

// report tells of a View that is new on the screen, or whose code appeared or
// went.
func (d *Display) report(r Drawn, n int) {
	if n == 0 || n == d.lastN && r.QR == d.last.QR {
		return
	}
	d.last, d.lastN = r, n
	d.opts.Drawn(r)
}
