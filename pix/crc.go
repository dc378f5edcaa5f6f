package pix

// crcTable is CRC-16 with polynomial 0x1021, most significant bit first.
var crcTable = func() (table [256]uint16) {
	for i := range table {
		c := uint16(i) << 8
		for range 8 {
			if c&0x8000 != 0 {
				c = c<<1 ^ 0x1021
			} else {
				c <<= 1
			}
		}
		table[i] = c
	}
	return table
}()

// crc16 starts at FFFF, without reflection and final XOR.
func crc16[T string | []byte](data T) uint16 {
	c := uint16(0xFFFF)
	for i := range len(data) {
		c = c<<8 ^ crcTable[byte(c>>8)^data[i]]
	}
	return c
}

// appendCRC writes four upper-case hexadecimal digits, zero-padded.
func appendCRC(b []byte, c uint16) []byte {
	const hex = "0123456789ABCDEF"
	return append(b, hex[c>>12], hex[c>>8&15], hex[c>>4&15], hex[c&15])
}
