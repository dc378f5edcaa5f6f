package main

import (
	"fmt"
	"html"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// series is a row of measured values with a name.
type series struct {
	name   string
	values []float64
}

// mark is a line across a plot: a target, or what is equal.
type mark struct {
	at   float64
	name string
}

// plot is a small picture in SVG over one logarithmic axis of values, which is
// as long as the values and marks need.
type plot struct {
	title, axis string // axis with its unit
	marks       []mark
	series      []series
}

// Sizes in pixels. The names of the series stand in a column of their own.
const (
	plotWidth = 760
	plotLeft  = 46
	plotTop   = 44
	namesWide = 250
	curvesTop = 230 // height of the curves' area
	stripHigh = 26
)

// inks are told apart by those who cannot see all colours, too (Okabe and Ito).
var inks = []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"}

// milliseconds makes a series of durations.
func milliseconds(name string, took []time.Duration) series {
	s := series{name, make([]float64, len(took))}
	for i, d := range took {
		s.values[i] = d.Seconds() * 1e3
	}
	return s
}

// curves draws for each series which share of its values is at most so large.
func (p plot) curves() string {
	d := p.begin(plotLeft, plotWidth-namesWide-16, curvesTop)
	for share := 0; share <= 100; share += 25 {
		y := d.height - float64(share)/100*d.height
		d.line(d.left, plotTop+y, d.right, plotTop+y, "#ddd", "")
		d.text(d.left-6, plotTop+y+4, "end", "#444", fmt.Sprint(share, " %"))
	}
	for i, s := range p.series {
		sorted := slices.Sorted(slices.Values(s.values))
		var path strings.Builder
		lastX, lastY := math.Inf(-1), math.Inf(-1)
		for n, v := range sorted {
			x, y := d.at(v), plotTop+d.height*(1-float64(n+1)/float64(len(sorted)))
			if n > 0 && n < len(sorted)-1 && x-lastX < 1 && lastY-y < 1 {
				continue // not to be seen
			}
			fmt.Fprintf(&path, "%.1f,%.1f ", x, y)
			lastX, lastY = x, y
		}
		ink := inks[i%len(inks)]
		fmt.Fprintf(&d.out, `<polyline fill="none" stroke="%s" stroke-width="1.8" points="%s"/>`+"\n", ink, strings.TrimSpace(path.String()))
		y := plotTop + 14 + 20*float64(i)
		d.line(d.right+14, y-4, d.right+34, y-4, ink, "")
		d.text(d.right+40, y, "start", "#222", s.name)
	}
	return d.end()
}

// strips draws for each series every value as a dot, and its median as a bar.
func (p plot) strips() string {
	d := p.begin(namesWide, plotWidth-24, stripHigh*len(p.series))
	for i, s := range p.series {
		y := plotTop + stripHigh*(float64(i)+.5)
		d.text(d.left-10, y+4, "end", "#222", s.name)
		d.line(d.left, y, d.right, y, "#eee", "")
		ink := inks[i%len(inks)]
		for _, v := range s.values {
			fmt.Fprintf(&d.out, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s" fill-opacity="0.35"/>`+"\n", d.at(v), y, ink)
		}
		m := d.at(median(s.values))
		d.line(m, y-9, m, y+9, ink, ` stroke-width="3"`)
	}
	return d.end()
}

// drawing is a plot under way: its area, and what is drawn.
type drawing struct {
	plot
	left, right, height float64
	low, high           float64 // logarithms of the axis' ends
	out                 strings.Builder
}

func (p plot) begin(left, right, height int) *drawing {
	d := &drawing{plot: p, left: float64(left), right: float64(right), height: float64(height)}
	d.low, d.high = math.Inf(1), math.Inf(-1)
	cover := func(v float64) {
		if v > 0 {
			d.low, d.high = min(d.low, math.Log10(v)), max(d.high, math.Log10(v))
		}
	}
	for _, s := range p.series {
		for _, v := range s.values {
			cover(v)
		}
	}
	for _, m := range p.marks {
		cover(m.at)
	}
	if d.low > d.high {
		d.low, d.high = 0, 1
	}
	d.low, d.high = d.low-.05, d.high+.05
	total := plotTop + height + 46
	fmt.Fprintf(&d.out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="sans-serif" font-size="12" role="img">`+"\n",
		plotWidth, total, plotWidth, total)
	fmt.Fprintf(&d.out, "<title>%s</title>\n<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n", html.EscapeString(p.title))
	d.text(12, 18, "start", "#000", p.title)
	bottom := plotTop + d.height
	for _, v := range d.ticks() {
		x := d.at(v)
		d.line(x, plotTop, x, bottom, "#eee", "")
		d.line(x, bottom, x, bottom+4, "#444", "")
		d.text(x, bottom+17, "middle", "#444", strconv.FormatFloat(v, 'g', -1, 64))
	}
	d.line(d.left, bottom, d.right, bottom, "#444", "")
	d.text((d.left+d.right)/2, bottom+36, "middle", "#222", p.axis)
	return d
}

// ticks are 1, 2 and 5 of every power of ten on the axis.
func (d *drawing) ticks() []float64 {
	var all []float64
	for e := int(math.Floor(d.low)); e <= int(math.Ceil(d.high)); e++ {
		for _, digit := range []string{"1", "2", "5"} {
			v, _ := strconv.ParseFloat(digit+"e"+strconv.Itoa(e), 64) // exact, unlike a product
			if l := math.Log10(v); l >= d.low && l <= d.high {
				all = append(all, v)
			}
		}
	}
	return all
}

// at is where a value stands on the axis. Nothing is less than its beginning.
func (d *drawing) at(v float64) float64 {
	l := d.low
	if v > 0 {
		l = max(l, math.Log10(v))
	}
	return d.left + (l-d.low)/(d.high-d.low)*(d.right-d.left)
}

func (d *drawing) line(x1, y1, x2, y2 float64, ink, more string) {
	fmt.Fprintf(&d.out, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s"%s/>`+"\n", x1, y1, x2, y2, ink, more)
}

func (d *drawing) text(x, y float64, anchor, ink, text string) {
	fmt.Fprintf(&d.out, `<text x="%.1f" y="%.1f" text-anchor="%s" fill="%s">%s</text>`+"\n", x, y, anchor, ink, html.EscapeString(text))
}

// end draws the marks over all else.
func (d *drawing) end() string {
	for _, m := range d.marks {
		x := d.at(m.at)
		d.line(x, plotTop-6, x, plotTop+d.height, "#c00", ` stroke-dasharray="5 4"`)
		d.text(x, plotTop-10, "middle", "#c00", m.name)
	}
	d.out.WriteString("</svg>\n")
	return d.out.String()
}
