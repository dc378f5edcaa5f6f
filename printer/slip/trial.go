package slip

import (
	"strings"
	"time"

	"github.com/ssg-safe/agent/printer"
)

// Test is what a technician prints to see whether printer and profile belong
// together. Its letters are those that differ between code pages (á é ç print
// right on the wrong ones, too), its ruler is as wide as the paper should be,
// and its code is no PIX code.
type Test struct {
	Terminal string
	Profile  printer.Profile
	At       time.Time
}

// Document lays the slip out.
func (t Test) Document() printer.Document {
	d := &layout{}
	d.centre(titleTest, bold)
	d.centre(t.Profile.Title, plain)
	d.add(printer.Rule{})
	d.pair(labelTerminal, t.Terminal)
	d.time(labelIssued, t.At)
	d.add(printer.Rule{}, printer.Text{Text: testLetters})
	d.add(printer.Text{Text: strings.Repeat("1234567890", 1+t.Profile.Columns/10)[:t.Profile.Columns]})
	d.centre(testRuler, plain)
	d.add(printer.QR{Code: testCode})
	d.centre(testDone, bold)
	return d.end()
}
