package main

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// elements reads an SVG as XML and returns the attributes of each element.
func elements(t *testing.T, svg string) map[string][]map[string]string {
	t.Helper()
	all := map[string][]map[string]string{}
	for d := xml.NewDecoder(strings.NewReader(svg)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, svg)
		}
		if e, ok := token.(xml.StartElement); ok {
			of := map[string]string{}
			for _, a := range e.Attr {
				of[a.Name.Local] = a.Value
			}
			all[e.Name.Local] = append(all[e.Name.Local], of)
		}
	}
}

func number(t *testing.T, text string) float64 {
	t.Helper()
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		t.Fatalf("coordinate %q: %v", text, err)
	}
	return f
}

// A curve ends at the top, above its largest value, and rises all the way.
func TestCurves(t *testing.T) {
	p := plot{
		title: "a < b & c", axis: "time in ms", marks: []mark{{10, "target"}},
		series: []series{{"one", []float64{1, 100, 10, 10}}, {"two", []float64{2}}},
	}
	d := p.begin(plotLeft, plotWidth-namesWide-16, curvesTop)
	lines := elements(t, p.curves())["polyline"]
	if len(lines) != 2 {
		t.Fatalf("%d curves, want 2", len(lines))
	}
	var xs, ys []float64
	for point := range strings.FieldsSeq(lines[0]["points"]) {
		x, y, _ := strings.Cut(point, ",")
		xs, ys = append(xs, number(t, x)), append(ys, number(t, y))
	}
	for i := 1; i < len(xs); i++ {
		if xs[i] < xs[i-1] || ys[i] >= ys[i-1] {
			t.Errorf("the curve does not rise: %v %v", xs, ys)
		}
	}
	last := len(xs) - 1
	if last != 3 || ys[last] != plotTop || math.Abs(xs[last]-d.at(100)) > .1 || math.Abs(ys[0]-(plotTop+curvesTop*.75)) > .1 {
		t.Errorf("points %v %v", xs, ys)
	}
}

func TestStrips(t *testing.T) {
	p := plot{axis: "ratio", marks: []mark{{1, "equal"}}, series: []series{{"a", []float64{.5, 2, 4}}, {"none", nil}, {"zero", []float64{0}}}}
	all := elements(t, p.strips())
	if len(all["circle"]) != 4 {
		t.Errorf("%d dots, want 4", len(all["circle"]))
	}
	for _, c := range all["circle"] {
		if x := number(t, c["cx"]); x < namesWide || x > plotWidth-24 {
			t.Errorf("a dot lies at %v, outside", x)
		}
	}
}

// Ticks are on the axis, and read as people write numbers.
func TestTicks(t *testing.T) {
	p := plot{series: []series{{"", []float64{.09, 21}}}}
	var got []string
	for _, v := range p.begin(0, 100, 100).ticks() {
		got = append(got, strconv.FormatFloat(v, 'g', -1, 64))
	}
	if s := strings.Join(got, " "); s != "0.1 0.2 0.5 1 2 5 10 20" {
		t.Errorf("ticks %s", s)
	}
	if empty := (plot{}).begin(0, 100, 100); len(empty.ticks()) == 0 {
		t.Error("an empty plot has no ticks")
	}
}

// Every picture the document links is there, and every picture that is there is
// linked.
func TestDocumentHasItsPictures(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("..", "docs", "benchmarks.md"))
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join("..", "docs", pictures, "bench-*.svg"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !strings.Contains(string(raw), "("+pictures+"/"+filepath.Base(f)+")") {
			t.Errorf("%s is not linked", f)
		}
		svg, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		elements(t, string(svg))
	}
	if n := strings.Count(string(raw), "("+pictures+"/bench-"); n != len(files) {
		t.Errorf("%d pictures linked, %d there", n, len(files))
	}
}
