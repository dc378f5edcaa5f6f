package display

import (
	"testing"
	"time"
)

// BenchmarkAmountToQR is what the display adds between a View with a code and
// the code on the screen: symbol, layout, cells.
func BenchmarkAmountToQR(b *testing.B) {
	for _, size := range sizes {
		b.Run(size.name, func(b *testing.B) {
			v := sample(QR)
			var c canvas
			for b.Loop() {
				p := testPainter("")
				c.reset(size.w, size.h)
				if !p.paint(&c, v, moment{now: noon}) {
					b.Fatal("no code on the screen")
				}
			}
		})
	}
}

// BenchmarkFrame is one step of the countdown.
func BenchmarkFrame(b *testing.B) {
	v := sample(QR)
	p := testPainter("")
	var c canvas
	b.ReportAllocs()
	for b.Loop() {
		c.reset(100, 30)
		p.paint(&c, v, moment{now: noon, elapsed: time.Second})
	}
}
