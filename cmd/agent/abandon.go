package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/charge"
	"github.com/ssg-safe/agent/device"
	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/store"
)

// abandoned is what a reset gives up because whoever should have had it is gone for
// ever. Until the new store has recorded it as its first entry, of the kind
// kindReset, it lies in the data directory as resetFile. Its JSON form is stored.
type abandoned struct {
	// Device is the former terminal, Head the end of its ledger.
	Device string      `json:"device"`
	Head   ledger.Head `json:"head"`
	// Without are the consumers that are gone.
	Without []string `json:"without"`
	// Entries of the ledger are had by nobody else, and Received is what came in by
	// them, in centavos.
	Entries  int          `json:"entries"`
	Received money.Amount `json:"received"`
	// Copy is the SHA-256 of the exported copy, By who decided.
	Copy string `json:"copy_sha256"`
	By   string `json:"by"`
}

const (
	kindReset = "store.reset"
	resetFile = "reset.json"
)

func (a abandoned) op() string {
	return fmt.Sprintf("reset/%s/%d-%d", a.Device, a.Head.Epoch, a.Head.Seq)
}

// abandonment are the flags by which somebody decides it.
type abandonment struct {
	without        []string
	copy, by, lose string
}

// check looks at the flags alone.
func (a abandonment) check(data string) error {
	if len(a.without) == 0 {
		for flag, value := range map[string]string{"copy": a.copy, "by": a.by, "lose": a.lose} {
			if value != "" {
				return usageError{fmt.Errorf("store reset: --%s is for --without: who is gone for ever, hub or archive?", flag)}
			}
		}
		return nil
	}
	here, err := filepath.Abs(data)
	if err != nil {
		return err
	}
	there, err := filepath.Abs(a.copy)
	switch {
	case err != nil:
		return err
	case a.copy == "":
		return usageError{errors.New("store reset: --without needs --copy FILE, a copy of the ledger on another disk")}
	case strings.HasPrefix(there, here+string(filepath.Separator)):
		return usageError{fmt.Errorf("store reset: --copy %s lies in the data directory: a copy belongs on another disk", a.copy)}
	case !charge.IsPerson(a.by):
		return usageError{fmt.Errorf("store reset: --without needs --by, a name of %s: the ledger keeps it for ever", charge.PersonForm)}
	}
	return nil
}

// missing says who has less than all, by consumer.
func missing(tx *bbolt.Tx, head ledger.Head, without []string) (reasons []string, err error) {
	cursors, err := ledger.Cursors(tx)
	if err != nil {
		return nil, err
	}
	for _, name := range without {
		if has, ok := cursors[name]; !ok || !has.Position.Before(head.Position) {
			reasons = append(reasons, fmt.Sprintf("--without %s: it is not what a reset waits for; leave it out", name))
		}
	}
	for _, consumer := range slices.Sorted(maps.Keys(cursors)) {
		has := cursors[consumer]
		if has.Position.Before(head.Position) && !slices.Contains(without, consumer) {
			reasons = append(reasons, fmt.Sprintf("%s has the entries up to %v of %v: let the agent run with it until it has all; if it is gone for ever, see --without in 'ssg-agent store reset --help'",
				consumer, has.Position, head.Position))
		}
	}
	if len(cursors) == 0 && head.Seq > 0 {
		reasons = append(reasons, fmt.Sprintf("nobody else has the %d entries: let the agent run with a hub ([fleet]) or with [archive] until it has all", head.Seq))
	}
	return reasons, nil
}

// lost adds up what nobody has who is not gone.
func lost(tx *bbolt.Tx, without []string) (entries int, received money.Amount, err error) {
	cursors, err := ledger.Cursors(tx)
	if err != nil {
		return 0, 0, err
	}
	var from ledger.Position // what somebody has, who is still there
	for consumer, has := range cursors {
		if !slices.Contains(without, consumer) && from.Before(has.Position) {
			from = has.Position
		}
	}
	for at, raw := range ledger.Entries(tx, ledger.Position{}) {
		if !from.Before(at) {
			continue
		}
		e, err := ledger.Decode(raw)
		if err != nil {
			return 0, 0, err
		}
		entries++
		for _, p := range e.Postings {
			if p.Account == ledger.PixClearing && p.Amount > 0 {
				if received, err = received.Add(p.Amount); err != nil {
					return 0, 0, err
				}
			}
		}
	}
	return entries, received, nil
}

// give examines what is given up and has it copied. The error of the first step says
// what it is, and how to go on.
func (a abandonment) give(tx *bbolt.Tx, former string, head ledger.Head, confirm, code string) (abandoned, error) {
	out := abandoned{Device: former, Head: head, Without: slices.Sorted(slices.Values(a.without)), By: a.by}
	var err error
	if out.Entries, out.Received, err = lost(tx, a.without); err != nil {
		return out, err
	}
	if out.Copy, err = saveCopy(tx, a.copy, confirm == ""); err != nil {
		return out, err
	}
	if confirm == "" {
		return out, fmt.Errorf(`nothing was changed yet.
  GONE FOR EVER, as you say: %s.
  Nobody else has %d entries of the ledger, by which R$ %s came in. After the reset they are in the folder
  that is put aside and in %s alone (SHA-256 %s): keep both for as long as the law says.
  The new ledger will begin with an entry that says so, and that %s decided it.
  To go on, add --confirm %s and, as a sign that you know what is given up, --lose with the amount above`,
			strings.Join(out.Without, ", "), out.Entries, out.Received, a.copy, out.Copy, a.by, code)
	}
	if lose, err := money.Parse(a.lose); err != nil || lose != out.Received {
		return out, usageError{fmt.Errorf("--lose %q is not the amount that is given up; without --confirm the command tells it", a.lose)}
	}
	return out, nil
}

// saveCopy writes the ledger to a new file, where it may, and returns the SHA-256 of
// the file, which holds the ledger then.
func saveCopy(tx *bbolt.Tx, path string, create bool) (string, error) {
	sum := sha256.New()
	if err := ledger.WriteJSONL(sum, ledger.Entries(tx, ledger.Position{})); err != nil {
		return "", err
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) && create {
		if err := writeCopy(tx, path); err != nil {
			return "", fmt.Errorf("copy of the ledger: %w", err)
		}
	}
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("copy of the ledger: %w", err)
	}
	defer f.Close()
	there := sha256.New()
	if _, err := io.Copy(there, f); err != nil {
		return "", fmt.Errorf("copy of the ledger: %w", err)
	}
	if !bytes.Equal(there.Sum(nil), sum.Sum(nil)) {
		return "", fmt.Errorf("copy of the ledger: %s is not it; name a file that does not exist, without --confirm", path)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

func writeCopy(tx *bbolt.Tx, path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = ledger.WriteJSONL(f, ledger.Entries(tx, ledger.Position{}))
	if err = errors.Join(err, f.Sync(), f.Close(), syncDir(filepath.Dir(path))); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// leave writes what the next store has to record; nil: there is nothing.
func leave(data string, a *abandoned) error {
	path := filepath.Join(data, resetFile)
	if a == nil {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return syncDir(data)
	}
	raw, err := json.Marshal(a)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(raw)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return errors.Join(os.Rename(path+".new", path), syncDir(data))
}

// recordReset makes what a reset gave up the first entry of the store that came after
// it, and reports whether it did; the store takes nothing more then, and has to be opened
// again.
func recordReset(ctx context.Context, data string, st *store.Store, log *slog.Logger) (bool, error) {
	path := filepath.Join(data, resetFile)
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	var a abandoned
	if err == nil {
		err = json.Unmarshal(raw, &a)
	}
	if err != nil {
		return false, fmt.Errorf("what the last reset gave up cannot be recorded: read %s: %w; if it is damaged, move it away, and note what it was about", path, err)
	}
	var head ledger.Head
	recorded, now := false, false
	err = st.View(func(tx *bbolt.Tx) (err error) {
		if head, err = ledger.GetHead(tx); err == nil {
			_, recorded, err = ledger.Lookup(tx, a.op())
		}
		return err
	})
	switch {
	case err != nil:
		return false, err
	case recorded:
	case head.Seq > 0:
		log.Warn("a reset was begun and not finished; the terminal goes on as before", "by", a.By)
	default:
		at := stampOf(device.NewClock(buildTime()))
		err = commitAlone(ctx, st, store.Op{Name: "reset", Do: func(tx *bbolt.Tx) error {
			_, err := ledger.Append(tx, at, ledger.Draft{Op: a.op(), Kind: kindReset, Actor: "operator", Data: a})
			return err
		}})
		if err != nil {
			return false, fmt.Errorf("record what the last reset gave up: %w", err)
		}
		now = true
		log.Warn("this ledger follows one that was given up", "device", a.Device, "entries", a.Entries, "received", a.Received.String(), "by", a.By)
	}
	return now, leave(data, nil)
}
