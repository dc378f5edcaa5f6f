package hub

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"time"

	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/redact"
)

// Register enters a device into the registry. Registering the same again changes
// nothing; the same name with another key, tenant or site is ErrConflict, because
// what is stored belongs to somebody.
func Register(tx Tx, d Device) error {
	for _, s := range []struct{ what, value string }{{"device", d.Name}, {"tenant", d.Tenant}, {"site", d.Site}} {
		if !wire.ValidSegment(s.value) {
			return badSegment("register", s.what, s.value)
		}
	}
	if len(d.Key) != ed25519.PublicKeySize {
		return fmt.Errorf("register %s: the key has %d bytes, want %d", d.Name, len(d.Key), ed25519.PublicKeySize)
	}
	old, known, err := find[Device](tx, KindDevice, d.Name)
	switch {
	case err != nil:
		return err
	case known && (!old.Key.Equal(d.Key) || old.Tenant != d.Tenant || old.Site != d.Site || !old.Revoked.IsZero()):
		return fmt.Errorf("register %s: %w: %s/%s with key %s, state %s", d.Name, ErrConflict, old.Tenant, old.Site, wire.EncodeKey(old.Key), old.State())
	case known:
		return nil
	}
	d.Added = time.Now().UTC()
	return put(tx, KindDevice, d.Name, d)
}

func badSegment(verb, what, value string) error {
	return fmt.Errorf("%s: %s %q: 1 to %d of a-z, 0-9 and '-'", verb, what, value, wire.MaxSegment)
}

// Revoke ends a device: nothing more is taken from it and nothing is sent to it.
// What is stored stays.
func Revoke(tx Tx, name string) error {
	d, err := GetDevice(tx, name)
	if err != nil {
		return err
	}
	if d.Revoked.IsZero() {
		d.Revoked = time.Now().UTC()
	}
	return put(tx, KindDevice, name, d)
}

// Reinstate takes a revocation back: it was the wrong device, or it was found.
func Reinstate(tx Tx, name string) error {
	d, err := GetDevice(tx, name)
	if err != nil {
		return err
	}
	if d.Revoked.IsZero() {
		return fmt.Errorf("reinstate %s: it is not revoked", name)
	}
	d.Revoked = time.Time{}
	return put(tx, KindDevice, name, d)
}

// Move notes that a device stands at another site of its tenant. Its own
// configuration must say the same, or its messages are dropped.
func Move(tx Tx, name, site string) error {
	d, err := GetDevice(tx, name)
	if err != nil {
		return err
	}
	if !wire.ValidSegment(site) {
		return badSegment("move "+name, "site", site)
	}
	d.Site = site
	return put(tx, KindDevice, name, d)
}

// SetPassword makes a password with which the device may connect to a broker that
// asks the registry ([Device.Admits]), in the place of an earlier one. Only its
// hash is stored: it is shown once.
func SetPassword(tx Tx, name string) (redact.Secret, error) {
	d, err := GetDevice(tx, name)
	if err != nil {
		return "", err
	}
	password := redact.Secret(rand.Text())
	d.Access = accessOf(password.Reveal())
	return password, put(tx, KindDevice, name, d)
}

// Admits reports whether a password is the device's. It was drawn by lot and is
// too long to be guessed, so that a plain hash of it keeps it.
func (d Device) Admits(password string) bool {
	return len(d.Access) > 0 && subtle.ConstantTimeCompare(d.Access, accessOf(password)) == 1
}

func accessOf(password string) []byte {
	sum := sha256.Sum256([]byte(password))
	return sum[:]
}

// ApproveEpoch lets a device send from an epoch: somebody knows that the terminal
// was reset or restored.
func ApproveEpoch(tx Tx, name string, epoch uint64) error {
	d, err := GetDevice(tx, name)
	if err != nil {
		return err
	}
	for _, e := range d.Epochs {
		if e == epoch {
			return fmt.Errorf("approve epoch %d of %s: it is approved already", epoch, name)
		}
	}
	d.Epochs = append(d.Epochs, epoch)
	if d.Asked == epoch {
		d.Asked = 0
	}
	return put(tx, KindDevice, name, d)
}

// ApproveGap lets the next batch behind a gap pass: the entries between are lost,
// because the hub has no backup of them and the device has pruned them.
func ApproveGap(tx Tx, name string) error {
	d, err := GetDevice(tx, name)
	if err != nil {
		return err
	}
	d.TakeGap = true
	return put(tx, KindDevice, name, d)
}

// ApproveFork takes the device's version of its ledger from the first difference
// on. What the hub holds from there on is set aside whole, to be looked at and
// exported, when the device sends again; nothing is deleted.
func ApproveFork(tx Tx, name string) error {
	d, err := GetDevice(tx, name)
	if err != nil {
		return err
	}
	if d.Fork == nil {
		return fmt.Errorf("approve the fork of %s: it has none", name)
	}
	d.Fork, d.TakeFork = nil, true
	return put(tx, KindDevice, name, d)
}
