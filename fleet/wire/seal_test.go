package wire

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/sha512"
	"errors"
	"slices"
	"testing"
)

func TestMontgomeryIsTheSameKey(t *testing.T) {
	for b := range 64 {
		key := seeded(byte(b))
		digest := sha512.Sum512(key.Seed())
		private, err := ecdh.X25519().NewPrivateKey(digest[:32])
		if err != nil {
			t.Fatal(err)
		}
		got, err := montgomery(public(key))
		if err != nil {
			t.Fatal(err)
		}
		if !got.Equal(private.PublicKey()) {
			t.Fatalf("seed %#02x: the public half %x is none of the private %x", b, got.Bytes(), private.PublicKey().Bytes())
		}
	}
	neutral := make(ed25519.PublicKey, 32)
	neutral[0] = 1
	if _, err := montgomery(neutral); !errors.Is(err, ErrKey) {
		t.Errorf("the neutral point: %v", err)
	}
	if _, err := montgomery(neutral[:31]); !errors.Is(err, ErrKey) {
		t.Errorf("31 bytes: %v", err)
	}
}

func TestSeal(t *testing.T) {
	text := []byte("12345678909")
	sealed, err := pinned(t).Seal("context", text)
	if err != nil {
		t.Fatal(err)
	}
	again, err := pinned(t).Seal("context", text)
	if err != nil || bytes.Contains(sealed, text) || bytes.Equal(sealed, again) {
		t.Fatalf("%x, %x, %v", sealed, again, err)
	}
	// Either key opens it, so that one may take over from the other meanwhile.
	for _, key := range []ed25519.PrivateKey{hubKey, nextKey} {
		got, err := OpenSealed([]ed25519.PrivateKey{strangerKey, key}, "context", sealed)
		if err != nil || !bytes.Equal(got, text) {
			t.Fatalf("%q, %v", got, err)
		}
	}
	half := len(sealed) / 2
	swapped := slices.Concat(sealed[:kidSize], sealed[half+kidSize:], sealed[half:half+kidSize], sealed[kidSize:half])
	damaged := bytes.Clone(sealed)
	damaged[half-1] ^= 1
	damaged[2*half-1] ^= 1
	both := []ed25519.PrivateKey{hubKey, nextKey}
	for name, try := range map[string]struct {
		keys    []ed25519.PrivateKey
		context string
		sealed  []byte
	}{
		"a stranger's key": {[]ed25519.PrivateKey{strangerKey}, "context", sealed},
		"another context":  {both, "contexts", sealed},
		"swapped":          {both, "context", swapped},
		"damaged":          {both, "context", damaged},
		"cut":              {both, "context", sealed[:half-1]},
		"cut in the name":  {both, "context", sealed[:kidSize+1]},
		"nothing":          {both, "context", nil},
		"too much":         {both, "context", make([]byte, MaxSealed+1)},
		"no key":           {nil, "context", sealed},
	} {
		if got, err := OpenSealed(try.keys, try.context, try.sealed); !errors.Is(err, ErrSealed) || got != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if _, err := pinned(t).Seal("context", make([]byte, MaxSealed)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too long a text: %v", err)
	}
}

func FuzzOpenSealed(f *testing.F) {
	sealed, err := pinned(f).Seal("context", []byte("text"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed)
	f.Add(sealed[:len(sealed)/2])
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, sealed []byte) {
		got, err := OpenSealed([]ed25519.PrivateKey{hubKey}, "context", sealed)
		if err == nil && string(got) != "text" || err != nil && !errors.Is(err, ErrSealed) {
			t.Fatalf("%q, %v", got, err)
		}
	})
}
