package device

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// IdentityFile is the name of the identity inside its directory.
const IdentityFile = "identity.json"

var (
	// ErrDamaged means that the identity file is there and is not an identity.
	// Nothing replaces it by itself: restore it from a backup, or remove it and
	// enrol the terminal anew.
	ErrDamaged = errors.New("identity file is damaged")
	// ErrExposed means that others may read or replace the identity file.
	ErrExposed = errors.New("identity file is not private")
)

// Identity is who this terminal is. It lies outside the store, so that a store
// can be restored or moved without cloning the terminal. Printing an Identity
// in any form shows the device name only.
type Identity struct {
	// DeviceKey signs ledger checkpoints and, later, messages to the hub.
	DeviceKey ed25519.PrivateKey
	// Device is the terminal's name: "d" and the first 80 bits of its public
	// key's SHA-256 in lower-case base32, 17 characters. It cannot be chosen, so
	// two terminals cannot share it by mistake.
	Device string
}

// identityFile is the stored form. Public and Device can be derived; they make
// damage visible, which a seed alone cannot.
type identityFile struct {
	V      int    `json:"v"`
	Device string `json:"device"`
	Public []byte `json:"public"`
	Seed   []byte `json:"seed"`
}

// maxIdentityFile bounds what is read, in bytes; a real file has about 200.
const maxIdentityFile = 4096

// DeviceName returns the name that belongs to a device's public key.
func DeviceName(pub ed25519.PublicKey) string {
	sum := sha256.Sum256(pub)
	return "d" + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:10]))
}

// LoadIdentity reads the identity in dir. Branch on [os.ErrNotExist] (a new
// terminal), [ErrDamaged] and [ErrExposed].
func LoadIdentity(dir string) (Identity, error) {
	path := filepath.Join(dir, IdentityFile)
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ELOOP) {
		return Identity{}, fmt.Errorf("read identity: %w: %s is a symbolic link; put the file itself there", ErrExposed, path)
	}
	if err != nil {
		return Identity{}, fmt.Errorf("read identity: %w", err)
	}
	defer f.Close()
	if err := private(f, dir); err != nil {
		return Identity{}, fmt.Errorf("read identity: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxIdentityFile+1))
	if err != nil {
		return Identity{}, fmt.Errorf("read identity: %w", err)
	}
	id, err := parseIdentity(text)
	if err != nil {
		return Identity{}, fmt.Errorf("read identity: %w: %s: %w", ErrDamaged, path, err)
	}
	return id, nil
}

// private checks that nobody else may read the file or put another in its place.
func private(f *os.File, dir string) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		return fmt.Errorf("%w: %s is not a regular file", ErrExposed, f.Name())
	}
	if mode := st.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("%w: %s has mode %04o; chmod 600 it, and enrol anew if others may have read it", ErrExposed, f.Name(), mode)
	}
	owner := int(st.Sys().(*syscall.Stat_t).Uid)
	if uid := os.Geteuid(); uid != 0 && owner != 0 && owner != uid {
		return fmt.Errorf("%w: %s belongs to user %d, not to %d", ErrExposed, f.Name(), owner, uid)
	}
	ds, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if mode := ds.Mode().Perm(); mode&0o002 != 0 {
		return fmt.Errorf("%w: everyone may write to the directory %s (mode %04o); chmod o-w it", ErrExposed, dir, mode)
	}
	return nil
}

// parseIdentity is strict: unknown fields, trailing data and anything that does
// not fit together is an error. No error repeats the content.
func parseIdentity(text []byte) (Identity, error) {
	if len(text) > maxIdentityFile {
		return Identity{}, fmt.Errorf("longer than %d bytes", maxIdentityFile)
	}
	var in identityFile
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		return Identity{}, fmt.Errorf("not the JSON of an identity, at byte %d of %d", d.InputOffset(), len(text))
	}
	if _, err := d.Token(); err != io.EOF {
		return Identity{}, errors.New("text follows the identity")
	}
	switch {
	case in.V != 1:
		return Identity{}, fmt.Errorf("version %d; this program knows version 1", in.V)
	case len(in.Seed) != ed25519.SeedSize:
		return Identity{}, fmt.Errorf("the key has %d bytes, not %d", len(in.Seed), ed25519.SeedSize)
	}
	id := identityOf(ed25519.NewKeyFromSeed(in.Seed))
	switch {
	case !bytes.Equal(id.DeviceKey.Public().(ed25519.PublicKey), in.Public):
		return Identity{}, errors.New("private and public key do not belong together")
	case id.Device != in.Device:
		return Identity{}, fmt.Errorf("the device name is %.40q, but the key's is %q", in.Device, id.Device)
	}
	return id, nil
}

func identityOf(key ed25519.PrivateKey) Identity {
	return Identity{DeviceKey: key, Device: DeviceName(key.Public().(ed25519.PublicKey))}
}

// CreateIdentity makes a new identity in dir, which must exist. It never
// replaces one: with one there already, even a damaged one, it returns
// [os.ErrExist]. After a crash dir holds a whole identity or none.
func CreateIdentity(dir string) (Identity, error) {
	id, err := createIdentity(dir)
	if err != nil {
		return Identity{}, fmt.Errorf("create identity in %s: %w", dir, err)
	}
	return id, nil
}

func createIdentity(dir string) (_ Identity, err error) {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return Identity{}, err
	}
	id := identityOf(key)
	text, err := json.MarshalIndent(identityFile{
		V: 1, Device: id.Device, Public: key.Public().(ed25519.PublicKey), Seed: key.Seed(),
	}, "", "  ")
	if err != nil {
		return Identity{}, err
	}
	tmp, err := os.CreateTemp(dir, "."+IdentityFile+".*") // mode 0600
	if err != nil {
		return Identity{}, err
	}
	defer func() {
		tmp.Close()
		os.Remove(tmp.Name())
	}()
	if _, err := tmp.Write(append(text, '\n')); err != nil {
		return Identity{}, err
	}
	if err := tmp.Sync(); err != nil {
		return Identity{}, err
	}
	// A link, not a rename: of two creators only one may win.
	if err := os.Link(tmp.Name(), filepath.Join(dir, IdentityFile)); err != nil {
		return Identity{}, err
	}
	if err := syncDir(dir); err != nil {
		return Identity{}, err
	}
	return id, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// String returns the device name, never the key.
func (id Identity) String() string { return id.Device }

// Format prints the device name whatever the verb.
func (id Identity) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, id.Device) }

// LogValue logs the device name.
func (id Identity) LogValue() slog.Value { return slog.StringValue(id.Device) }

// MarshalJSON writes the device name. The stored form is another type.
func (id Identity) MarshalJSON() ([]byte, error) { return json.Marshal(id.Device) }
