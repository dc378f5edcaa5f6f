package hub

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ssg-safe/agent/redact"
)

const phrase = "quatro palavras bem distintas"

func ask(secret string) func() (redact.Secret, error) {
	return func() (redact.Secret, error) { return redact.Secret(secret), nil }
}

// TestProtectedKey: a key under a passphrase comes back by that alone, and is not in
// its file otherwise; whatever is changed in the file is noticed.
func TestProtectedKey(t *testing.T) {
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	dir := t.TempDir()
	path := filepath.Join(dir, "ana.pem")
	if err := WriteKey(path, key, "short"); !errors.Is(err, ErrWeak) {
		t.Errorf("got %v", err)
	}
	if err := WriteKey(path, key, phrase); err != nil {
		t.Fatal(err)
	}
	if err := WriteKey(path, key, ""); !errors.Is(err, os.ErrExist) || strings.Contains(err.Error(), ".new-") {
		t.Errorf("over a key that is there: %v", err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(raw)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 || bytes.Contains(block.Bytes, key.Seed()) {
		t.Errorf("the file has mode %v, or the key in it (%v)", info.Mode(), err)
	}
	if got, err := OpenKey(path, ask(phrase)); err != nil || !got.Equal(key) {
		t.Errorf("got %v", err)
	}
	if _, err := OpenKey(path, ask(phrase+" ")); !errors.Is(err, ErrPassphrase) {
		t.Errorf("by another passphrase: %v", err)
	}
	if _, err := ReadKey(path); !errors.Is(err, ErrProtected) || !strings.Contains(err.Error(), path) {
		t.Errorf("without one: %v", err)
	}
	gone := errors.New("no terminal")
	if _, err := OpenKey(path, func() (redact.Secret, error) { return "", gone }); !errors.Is(err, gone) {
		t.Errorf("got %v", err)
	}

	// Version, salt, nonce, what is sealed, its tag: a bit of each.
	quick := once(phrase)
	for _, at := range []int{0, 1, 1 + saltLen, 1 + saltLen + nonceLen, len(block.Bytes) - 1} {
		broken := bytes.Clone(block.Bytes)
		broken[at] ^= 1
		if _, err := decodeKey(pem.EncodeToMemory(&pem.Block{Type: pemProtected, Bytes: broken}), quick); err == nil {
			t.Errorf("byte %d is changed, and the key is taken", at)
		}
	}

	if err := ReplaceKey(path, key, phrase+"!"); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenKey(path, ask(phrase)); !errors.Is(err, ErrPassphrase) {
		t.Errorf("the old passphrase: %v", err)
	}
	if got, err := OpenKey(path, ask(phrase+"!")); err != nil || !got.Equal(key) {
		t.Errorf("got %v", err)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 1 {
		t.Errorf("left behind: %v (%v)", names, err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenKey(path, ask(phrase+"!")); err == nil || !strings.Contains(err.Error(), "read by others") {
		t.Errorf("for others to read: %v", err)
	}
}

// once is the key of a passphrase, stretched once for each salt: it takes a second under
// the race detector.
func once(passphrase redact.Secret) func([]byte) ([]byte, error) {
	known := map[string][]byte{}
	return func(salt []byte) ([]byte, error) {
		if known[string(salt)] == nil {
			known[string(salt)] = stretch(passphrase, salt)
		}
		return known[string(salt)], nil
	}
}

// FuzzKeyFile: whatever lies there, it is a whole key or an error.
func FuzzKeyFile(f *testing.F) {
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	for _, passphrase := range []redact.Secret{"", phrase} {
		text, err := encodeKey(key, passphrase)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
		f.Add(text[:len(text)/2])
		f.Add(append(text, 'x'))
		f.Add(bytes.ReplaceAll(text, []byte(pemProtected), []byte(pemType)))
	}
	f.Add([]byte("-----BEGIN " + pemProtected + "-----\nAQ==\n-----END " + pemProtected + "-----\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		// Stretching would be all that this does.
		cheap := func(salt []byte) ([]byte, error) {
			sum := sha256.Sum256(salt)
			return sum[:], nil
		}
		for _, stretched := range []func([]byte) ([]byte, error){nil, cheap} {
			got, err := decodeKey(raw, stretched)
			if (err == nil) != (len(got) == ed25519.PrivateKeySize) {
				t.Fatalf("%d bytes, %v", len(got), err)
			}
		}
	})
}
