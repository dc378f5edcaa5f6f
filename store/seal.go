package store

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// ErrSum: a row whose checksum is wrong.
var ErrSum = errors.New("the checksum of the row is wrong")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Seal returns value with a checksum over key and value in front (CRC-32C, four
// bytes). bbolt has none on its pages; rows that no hash chain covers need one.
func Seal(key, value []byte) []byte {
	row := make([]byte, 4, 4+len(value))
	binary.BigEndian.PutUint32(row, sum(key, value))
	return append(row, value...)
}

// Unseal returns the value of a sealed row, sharing its memory, or ErrSum.
func Unseal(key, row []byte) ([]byte, error) {
	if len(row) < 4 || binary.BigEndian.Uint32(row) != sum(key, row[4:]) {
		return nil, ErrSum
	}
	return row[4:], nil
}

func sum(key, value []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
}
