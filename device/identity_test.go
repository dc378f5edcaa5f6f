package device

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestIdentityRoundTrip(t *testing.T) {
	dir := t.TempDir()
	if _, err := LoadIdentity(dir); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("load from an empty directory: %v", err)
	}
	made, err := CreateIdentity(dir)
	if err != nil {
		t.Fatal(err)
	}
	got, err := LoadIdentity(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !got.DeviceKey.Equal(made.DeviceKey) || got.Device != made.Device || len(got.Device) != 17 {
		t.Errorf("loaded %q, made %q, or another key", got.Device, made.Device)
	}
	st, err := os.Stat(filepath.Join(dir, IdentityFile))
	if err != nil {
		t.Fatal(err)
	}
	if st.Mode() != 0o600 {
		t.Errorf("mode %v, want 0600", st.Mode())
	}
	if _, err := CreateIdentity(dir); !errors.Is(err, os.ErrExist) {
		t.Errorf("second create: %v; want os.ErrExist", err)
	}
	again, err := LoadIdentity(dir)
	if err != nil || !again.DeviceKey.Equal(made.DeviceKey) {
		t.Errorf("the second create changed the identity: %v", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestIdentityOneCreatorWins(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	made := make(chan Identity, 8)
	for range cap(made) {
		wg.Go(func() {
			id, err := CreateIdentity(dir)
			switch {
			case err == nil:
				made <- id
			case !errors.Is(err, os.ErrExist):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(made) != 1 {
		t.Fatalf("%d creators won, want 1", len(made))
	}
	got, err := LoadIdentity(dir)
	if err != nil {
		t.Fatal(err)
	}
	if winner := <-made; !got.DeviceKey.Equal(winner.DeviceKey) {
		t.Error("the file holds a loser's key")
	}
}

// fixed is an identity whose text is known.
func fixed() (Identity, string) {
	id := identityOf(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize)))
	b64 := base64.StdEncoding.EncodeToString
	return id, fmt.Sprintf(`{"v":1,"device":%q,"public":%q,"seed":%q}`,
		id.Device, b64(id.DeviceKey.Public().(ed25519.PublicKey)), b64(id.DeviceKey.Seed()))
}

func TestIdentityDamaged(t *testing.T) {
	id, text := fixed()
	otherSeed := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{8}, ed25519.SeedSize))
	for _, test := range []struct{ name, text, says string }{
		{"empty", "", "not the JSON"},
		{"zeros, as after a power cut", strings.Repeat("\x00", 200), "not the JSON"},
		{"cut", text[:len(text)/2], "not the JSON"},
		{"longer", text + strings.Repeat(" ", maxIdentityFile), "longer than"},
		{"two", text + text, "follows"},
		{"unknown field", strings.Replace(text, `"v"`, `"w":1,"v"`, 1), "not the JSON"},
		{"newer", strings.Replace(text, `"v":1`, `"v":2`, 1), "version 2"},
		{"short key", strings.Replace(text, `BwcH`, ``, 1), "bytes"},
		{"other key", text[:strings.Index(text, `"seed"`)] + `"seed":"` + otherSeed + `"}`, "belong together"},
		{"other name", strings.Replace(text, id.Device, "d"+strings.Repeat("a", 16), 1), "device name"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, IdentityFile)
			if err := os.WriteFile(path, []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := LoadIdentity(dir)
			if !errors.Is(err, ErrDamaged) {
				t.Fatalf("got %v, want ErrDamaged", err)
			}
			for _, part := range []string{path, test.says} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not say %q", err, part)
				}
			}
			if strings.Contains(err.Error(), "BwcH") {
				t.Errorf("%q shows the key", err)
			}
			if _, err := CreateIdentity(dir); !errors.Is(err, os.ErrExist) {
				t.Errorf("create over a damaged identity: %v; want os.ErrExist", err)
			}
		})
	}
	got, err := parseIdentity([]byte(text))
	if err != nil || got.Device != id.Device {
		t.Errorf("the undamaged text: %v, %v", got, err)
	}
}

func TestIdentityExposed(t *testing.T) {
	for _, test := range []struct {
		name   string
		expose func(dir, path string) error
		says   string
	}{
		{"group reads", func(_, path string) error { return os.Chmod(path, 0o640) }, "mode 0640; chmod 600"},
		{"all read", func(_, path string) error { return os.Chmod(path, 0o604) }, "mode 0604; chmod 600"},
		{"all write to the directory", func(dir, _ string) error { return os.Chmod(dir, 0o777) }, "chmod o-w"},
		{"link", func(dir, path string) error {
			real := filepath.Join(dir, "elsewhere")
			return errors.Join(os.Rename(path, real), os.Symlink(real, path))
		}, "symbolic link"},
		{"directory", func(_, path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) }, "not a regular file"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			if _, err := CreateIdentity(dir); err != nil {
				t.Fatal(err)
			}
			if err := test.expose(dir, filepath.Join(dir, IdentityFile)); err != nil {
				t.Fatal(err)
			}
			_, err := LoadIdentity(dir)
			if !errors.Is(err, ErrExposed) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v, want ErrExposed saying %q", err, test.says)
			}
		})
	}
}

func TestIdentityNeverPrintsItsKey(t *testing.T) {
	id, _ := fixed()
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "id", id, "ptr", &id)
	js, err := json.Marshal(map[string]any{"id": id})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		log.String(), string(js), id.String(), fmt.Sprint(id), fmt.Sprint(&id),
		fmt.Sprintf("%v %+v %#v %s %q %x %d", id, id, id, id, id, id, id), fmt.Sprintf("%v", []Identity{id}),
	} {
		if !strings.Contains(text, id.Device) {
			t.Errorf("%q does not name the device", text)
		}
		for _, secret := range []string{"BwcH", hex.EncodeToString(id.DeviceKey.Seed())[:8], "7 7 7"} {
			if strings.Contains(text, secret) {
				t.Errorf("%q shows the key", text)
			}
		}
	}
}

// What parses is written back the same.
func FuzzIdentity(f *testing.F) {
	_, text := fixed()
	for _, seed := range []string{text, text[:40], strings.Replace(text, "1", "2", 1), `{}`, `null`, `[]`, "\x00", text + "\n", text + "{}"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		id, err := parseIdentity(text)
		if err != nil {
			return
		}
		again, err := json.Marshal(identityFile{V: 1, Device: id.Device, Public: id.DeviceKey.Public().(ed25519.PublicKey), Seed: id.DeviceKey.Seed()})
		if err != nil {
			t.Fatal(err)
		}
		back, err := parseIdentity(again)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(id.DeviceKey, back.DeviceKey); diff != "" {
			t.Error(diff)
		}
	})
}
