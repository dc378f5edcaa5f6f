package hub_test

import (
	"crypto/ed25519"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ssg-safe/agent/hub"
)

func pinOf(t *testing.T, dir string) []ed25519.PublicKey {
	t.Helper()
	k, err := hub.LoadKeys(dir)
	if err != nil {
		t.Fatal(err)
	}
	return k.Pin()
}

func TestKeys(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	if _, err := hub.LoadKeys(dir); !errors.Is(err, hub.ErrNoKey) {
		t.Errorf("no keys: %v, want ErrNoKey", err)
	}
	first, err := hub.MakeKey(dir)
	if err != nil || first.Next != nil {
		t.Fatalf("first key: %v", err)
	}
	for _, rotate := range []func(string) (hub.Keys, error){hub.RotateKey, hub.RotateKeyBack} {
		if _, err := rotate(dir); !errors.Is(err, hub.ErrNoKey) {
			t.Errorf("rotate to nothing: %v, want ErrNoKey", err)
		}
	}
	second, err := hub.MakeKey(dir)
	if err != nil || !second.Signing.Equal(first.Signing) || second.Next == nil || len(second.Pin()) != 2 {
		t.Fatalf("second key: %v", err)
	}
	if _, err := hub.MakeKey(dir); err == nil {
		t.Error("a third key: terminals pin two")
	}
	turned, err := hub.RotateKey(dir)
	if err != nil || !turned.Signing.Equal(second.Next) || !turned.Previous.Equal(first.Signing) || len(turned.Pin()) != 1 {
		t.Errorf("rotated: %v", err)
	}
	back, err := hub.RotateKeyBack(dir)
	if err != nil || !back.Signing.Equal(first.Signing) || !back.Next.Equal(second.Next) {
		t.Errorf("rotated back: %v", err)
	}
	if _, err := hub.RotateKey(dir); err != nil {
		t.Fatal(err)
	}
	third, err := hub.MakeKey(dir)
	if err != nil || third.Previous != nil || len(third.Pin()) != 2 {
		t.Errorf("the one after next: %v", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			t.Errorf("%s is left over", e.Name())
		}
		if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", e.Name(), info, err)
		}
	}
}

// A rotation that a crash ended half way is refused, and goes on when it is
// asked for again; no key is lost.
func TestInterruptedRotation(t *testing.T) {
	dir := t.TempDir()
	if _, err := hub.MakeKey(dir); err != nil {
		t.Fatal(err)
	}
	k, err := hub.MakeKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "signing.pem"), filepath.Join(dir, "previous.pem")); err != nil {
		t.Fatal(err)
	}
	if _, err := hub.LoadKeys(dir); err == nil || errors.Is(err, hub.ErrNoKey) || !strings.Contains(err.Error(), "rotate again") {
		t.Errorf("half rotated: %v", err)
	}
	if _, err := hub.MakeKey(dir); err == nil {
		t.Error("a key was made beside a half rotation")
	}
	turned, err := hub.RotateKey(dir)
	if err != nil || !turned.Signing.Equal(k.Next) || !turned.Previous.Equal(k.Signing) {
		t.Errorf("rotated again: %v", err)
	}
}

// A key that others can read, or that is none, is not used, and no error shows it.
func TestBadKeys(t *testing.T) {
	dir := t.TempDir()
	if _, err := hub.MakeKey(dir); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "signing.pem")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(pinOf(t, dir)) != 1 {
		t.Error("the key cannot be read")
	}
	for name, bad := range map[string]struct {
		text string
		mode os.FileMode
	}{
		"readable": {string(good), 0o640}, "empty": {"", 0o600}, "garbage": {"garbage", 0o600},
		"cut": {string(good[:len(good)/2]), 0o600}, "trailing": {string(good) + "x", 0o600},
		"another type": {strings.ReplaceAll(string(good), "PRIVATE", "PUBLIC"), 0o600},
	} {
		if err := os.WriteFile(path, []byte(bad.text), bad.mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, bad.mode); err != nil {
			t.Fatal(err)
		}
		_, err := hub.LoadKeys(dir)
		if err == nil {
			t.Errorf("%s: it is used", name)
		} else if secret := strings.Split(string(good), "\n")[1]; strings.Contains(err.Error(), secret[:20]) {
			t.Errorf("%s: the error shows the key: %v", name, err)
		}
	}
}
