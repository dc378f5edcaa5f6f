package emulator

import (
	"testing"

	"golang.org/x/text/encoding/charmap"
)

func TestPagesAreTheStandard(t *testing.T) {
	for number, want := range map[byte]*charmap.Charmap{
		0: charmap.CodePage437, 2: charmap.CodePage850, 3: charmap.CodePage860, 16: charmap.Windows1252, 19: charmap.CodePage858,
	} {
		for i, r := range pages[number] {
			if b := byte(0x80 + i); r != want.DecodeByte(b) {
				t.Errorf("page %d has %q for %02X, %v has %q", number, r, b, want, want.DecodeByte(b))
			}
		}
	}
	if len(pages) != 5 {
		t.Errorf("%d pages; the test knows 5", len(pages))
	}
}
