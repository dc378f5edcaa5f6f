package wire

import (
	"bytes"
	"compress/flate"
	"encoding/json"
	"fmt"
	"io"
	"sync"
)

// packed is the first byte of a deflated payload; a plain one begins with '{'.
const packed = 0x01

var deflaters = sync.Pool{New: func() any {
	// The best speed costs 3 % more bytes than the default and a third less time.
	w, err := flate.NewWriter(nil, flate.BestSpeed)
	if err != nil {
		panic(err) // the level is a constant
	}
	return w
}}

var inflaters = sync.Pool{New: func() any { return flate.NewReader(nil) }}

// Pack makes a payload of a JSON text: as it is up to PackAbove bytes or where
// deflate does not make it smaller, else 0x01 and raw deflate (RFC 1951). What
// is packed already stays as it is.
func Pack(b []byte) []byte {
	if len(b) <= PackAbove || b[0] != '{' {
		return b
	}
	out := bytes.NewBuffer(make([]byte, 0, len(b)/2))
	out.WriteByte(packed)
	w := deflaters.Get().(*flate.Writer)
	defer deflaters.Put(w)
	w.Reset(out)
	// A bytes.Buffer takes everything.
	_, _ = w.Write(b)
	_ = w.Close()
	if out.Len() >= len(b) {
		return b
	}
	return out.Bytes()
}

// Unpack returns the JSON text of a payload, which may be the payload itself.
// It never holds more than MaxInflated bytes, whatever the payload claims.
//
// Errors: ErrTooLarge, ErrEncoding.
func Unpack(b []byte) ([]byte, error) {
	switch {
	case len(b) > MaxPacket:
		return nil, fmt.Errorf("%w: payload of %d bytes", ErrTooLarge, len(b))
	case len(b) == 0:
		return nil, fmt.Errorf("%w: empty", ErrEncoding)
	case b[0] == '{':
		return b, nil
	case b[0] != packed:
		return nil, fmt.Errorf("%w: first byte %#02x", ErrEncoding, b[0])
	}
	in := bytes.NewReader(b[1:])
	r := inflaters.Get().(io.ReadCloser)
	defer inflaters.Put(r)
	if err := r.(flate.Resetter).Reset(in, nil); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrEncoding, err)
	}
	var out bytes.Buffer
	n, err := out.ReadFrom(io.LimitReader(r, MaxInflated+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrEncoding, err)
	case n > MaxInflated:
		return nil, fmt.Errorf("%w: more than %d bytes inflated", ErrTooLarge, MaxInflated)
	case in.Len() > 0:
		return nil, fmt.Errorf("%w: %d bytes behind the deflated ones", ErrEncoding, in.Len())
	case n == 0 || out.Bytes()[0] != '{':
		return nil, fmt.Errorf("%w: no object inside", ErrEncoding)
	}
	return out.Bytes(), nil
}

// Encode makes the MQTT payload of a message. Whatever it returns, Decode of
// the other side takes.
//
// Errors: ErrVersion, ErrMalformed, ErrTooLarge.
func Encode(m Message) ([]byte, error) {
	if m.version() != Version {
		return nil, fmt.Errorf("encode %s: %w %d", m.Channel(), ErrVersion, m.version())
	}
	m = m.utc()
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("encode %s: %w", m.Channel(), err)
	}
	raw, err := marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", m.Channel(), err)
	}
	return Pack(raw), nil
}

// Decode reads the MQTT payload of a message: wire.Decode[wire.Hello](payload).
//
// Errors: ErrTooLarge, ErrEncoding, ErrVersion, ErrMalformed.
func Decode[M Message](payload []byte) (M, error) {
	var m M
	raw, err := Unpack(payload)
	if err == nil && len(raw) > MaxMessage {
		err = fmt.Errorf("%w: %d bytes", ErrTooLarge, len(raw))
	}
	if err == nil {
		err = read(raw, &m, func() error { return versionOf(raw) })
	}
	if err == nil {
		m = m.utc().(M)
		err = m.check()
	}
	if err != nil {
		var zero M
		return zero, fmt.Errorf("decode %s: %w", zero.Channel(), err)
	}
	return m, nil
}

// versionOf checks v of an object whose names have been checked.
func versionOf(raw []byte) error {
	var head struct {
		V *int `json:"v"`
	}
	if err := json.Unmarshal(raw, &head); err != nil || head.V == nil {
		return fmt.Errorf("%w: v is no number", ErrMalformed)
	}
	if *head.V != Version {
		return fmt.Errorf("%w %d", ErrVersion, *head.V)
	}
	return nil
}
