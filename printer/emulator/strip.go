package emulator

import "slices"

// strip is the paper that was not cut yet: dots, what they say, and what made
// them. It begins with the part that lies between head and knife.
type strip struct {
	dots, stride int
	bits         []byte // stride bytes a row, dark = 1
	text         []textLine
	moved        bool // since the last cut
	fresh        bool // nothing came since a slip fell

	bytes    []byte
	ids      [][4]byte
	problems []Problem
}

// textLine is a line of text and the row it begins at.
type textLine struct {
	row  int
	text string
}

func (s *strip) init(dots int) {
	*s = strip{dots: dots, stride: dots / 8}
	s.bits = make([]byte, headToKnife*s.stride)
}

func (s *strip) rows() int { return len(s.bits) / s.stride }

func (s *strip) say(text string) { s.text = append(s.text, textLine{s.rows(), text}) }

func (s *strip) print(row []byte) {
	s.bits = append(s.bits, row[:s.stride]...)
	s.moved = true
}

func (s *strip) feed(rows int) {
	n := len(s.bits)
	s.bits = slices.Grow(s.bits, rows*s.stride)[:n+rows*s.stride]
	clear(s.bits[n:])
	s.moved = s.moved || rows > 0
}

// cut takes what has passed the knife. It is no slip when the paper did not
// move far enough, or when nothing stands on it and nothing is to be said of
// it: such pieces go to the floor.
func (s *strip) cut() (Slip, bool) {
	knife := s.rows() - headToKnife
	if knife <= 0 {
		return Slip{}, false
	}
	slip := Slip{
		ProcessIDs: s.ids,
		Bytes:      s.bytes,
		Problems:   s.problems,
		dots:       s.dots,
		bits:       s.bits[: knife*s.stride : knife*s.stride],
	}
	rest := strip{dots: s.dots, stride: s.stride}
	rest.bits = append(rest.bits, s.bits[knife*s.stride:]...)
	for _, l := range s.text {
		if l.row < knife {
			slip.lines = append(slip.lines, l.text)
		} else {
			rest.text = append(rest.text, textLine{l.row - knife, l.text})
		}
	}
	*s = rest
	blank := !slices.ContainsFunc(slip.bits, func(b byte) bool { return b != 0 })
	return slip, !blank || len(slip.Problems) > 0
}

// appendID adds a process id; a stream may hold any number of them.
func appendID(ids [][4]byte, id [4]byte) [][4]byte {
	if len(ids) >= maxProblems {
		return ids
	}
	return append(ids[:len(ids):len(ids)], id)
}
