package hub

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/ssg-safe/agent/fleet/wire"
)

// Keys are the hub's signing keys: files with mode 0600 in a directory of their
// own, never in the store. Terminals pin the public keys of Signing and Next, so
// that the hub can change over at any time:
//
//	MakeKey    the first one becomes Signing; with one there, it becomes Next
//	           (let the terminals pin both before going on)
//	RotateKey  Next becomes Signing; what was Signing is kept as Previous, and is
//	           put back by RotateKeyBack, until the next MakeKey
type Keys struct {
	Signing  ed25519.PrivateKey
	Next     ed25519.PrivateKey // nil: there is none
	Previous ed25519.PrivateKey // nil: there is none
}

const (
	signingFile  = "signing.pem"
	nextFile     = "next.pem"
	previousFile = "previous.pem"
)

// ErrNoKey: there is no such key.
var ErrNoKey = errors.New("no such signing key")

// Signer signs with the key in use.
func (k Keys) Signer() (*wire.Signer, error) { return wire.NewSigner(k.Signing) }

// Pin lists the public keys that terminals are to pin, the one in use first.
func (k Keys) Pin() []ed25519.PublicKey {
	pins := []ed25519.PublicKey{k.Signing.Public().(ed25519.PublicKey)}
	if k.Next != nil {
		pins = append(pins, k.Next.Public().(ed25519.PublicKey))
	}
	return pins
}

// LoadKeys reads the keys of a directory. It refuses files that others can read,
// and a directory in which a rotation was interrupted.
// Error: ErrNoKey when there are no keys.
func LoadKeys(dir string) (Keys, error) {
	var k Keys
	for _, f := range []struct {
		name string
		key  *ed25519.PrivateKey
	}{{signingFile, &k.Signing}, {nextFile, &k.Next}, {previousFile, &k.Previous}} {
		key, err := ReadKey(filepath.Join(dir, f.name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return Keys{}, fmt.Errorf("read signing key: %w", err)
		}
		*f.key = key
	}
	switch {
	case k.Signing != nil:
		return k, nil
	case k.Next != nil || k.Previous != nil:
		return Keys{}, fmt.Errorf("read signing key: a rotation in %s was interrupted; rotate again", dir)
	}
	return Keys{}, fmt.Errorf("%w: %s has none; make one", ErrNoKey, dir)
}

// MakeKey makes a key: the first one, or the next one. It makes the directory.
func MakeKey(dir string) (Keys, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Keys{}, fmt.Errorf("make signing key: %w", err)
	}
	name := signingFile
	switch k, err := LoadKeys(dir); {
	case err == nil && k.Next != nil:
		return k, errors.New("make signing key: there is a next one already; rotate to it first")
	case err == nil:
		name = nextFile
		// What was rotated away from cannot be gone back to any more: terminals
		// pin two keys, and these two are taken now.
		if err := os.Remove(filepath.Join(dir, previousFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return Keys{}, fmt.Errorf("make signing key: %w", err)
		}
	case !errors.Is(err, ErrNoKey):
		return Keys{}, err
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return Keys{}, fmt.Errorf("make signing key: %w", err)
	}
	if err := WriteKey(filepath.Join(dir, name), key, ""); err != nil {
		return Keys{}, fmt.Errorf("make signing key: %w", err)
	}
	return LoadKeys(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// RotateKey lets the next key sign. Every terminal must have pinned it.
func RotateKey(dir string) (Keys, error) { return rotate(dir, nextFile, previousFile) }

// RotateKeyBack lets the previous key sign again, and the present one becomes
// the next: for a rotation that came too early.
func RotateKeyBack(dir string) (Keys, error) { return rotate(dir, previousFile, nextFile) }

// rotate renames signing to old and from to signing. It goes on where an
// interrupted one stopped.
func rotate(dir, from, old string) (Keys, error) {
	fail := func(err error) (Keys, error) { return Keys{}, fmt.Errorf("rotate signing keys: %w", err) }
	path := func(name string) string { return filepath.Join(dir, name) }
	if _, err := ReadKey(path(from)); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w: %s", ErrNoKey, path(from))
		}
		return fail(err)
	}
	if err := os.Rename(path(signingFile), path(old)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fail(err)
	}
	if err := os.Rename(path(from), path(signingFile)); err != nil {
		return fail(err)
	}
	if err := syncDir(dir); err != nil {
		return fail(err)
	}
	return LoadKeys(dir)
}
