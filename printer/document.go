package printer

// Document is what a slip says, independent of the printer: blocks from top to
// bottom. It is plain data; package printer/slip builds the ones we use.
// Strings may hold any text: what the paper cannot show is replaced, and
// control characters never reach the wire.
type Document struct {
	Blocks []Block
}

// Block is one part of a document: [Text], [Pair], [QR], [Rule], [Feed] or
// [Cut].
type Block interface{ block() }

// Align places a block between the margins.
type Align int

// The alignments.
const (
	Left Align = iota
	Centre
	Right
)

// Text is a paragraph: it is broken between words where it does not fit, and
// inside a word that is longer than a line.
type Text struct {
	Text  string
	Align Align
	Bold  bool
	Wide  bool // double width
	Tall  bool // double height
}

// Pair is a label at the left margin and its value at the right one. When both
// do not fit into one line the value moves to the next.
type Pair struct {
	Label, Value string
	Bold         bool
}

// QR is a code, centred, with its quiet zone above and below. The code is
// printable ASCII, which every BR Code is.
type QR struct{ Code string }

// Rule is a line across the paper.
type Rule struct{}

// Feed is empty lines.
type Feed struct{ Lines int }

// Cut moves the text past the knife and cuts. What follows is another slip of
// the same job; a document without a Cut at its end gets one.
type Cut struct{}

func (Text) block() {}
func (Pair) block() {}
func (QR) block()   {}
func (Rule) block() {}
func (Feed) block() {}
func (Cut) block()  {}
