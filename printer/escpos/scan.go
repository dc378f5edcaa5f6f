package escpos

import "fmt"

// Forbidden says what in a job must not reach a printer: a real-time command
// (DLE EOT, DLE ENQ, DLE DC4), which a printer obeys the moment it arrives,
// wherever it stands, even inside the data of a picture or a code; and the
// drawer pulse ESC p. Empty means that nothing was found.
//
// The jobs of this package hold no pictures, so a raw search has no false
// alarms; an encoder of pictures must avoid these pairs, or bring a search
// that knows where data begins.
func Forbidden(job []byte) string {
	for i := range len(job) - 1 {
		switch job[i] {
		case 0x10:
			switch job[i+1] {
			case 0x04, 0x05, 0x14:
				return fmt.Sprintf("real-time command 10 %02X at byte %d", job[i+1], i)
			}
		case 0x1b:
			if job[i+1] == 'p' {
				return fmt.Sprintf("drawer pulse 1B 70 at byte %d", i)
			}
		}
	}
	return ""
}
