package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"
)

// quarantineNote is the marker beside a damaged store, PATH.quarantine. While
// it exists, Create and Open refuse.
type quarantineNote struct {
	File   string    `json:"file"` // where the damaged file lies now
	Reason string    `json:"reason"`
	At     time.Time `json:"at"`
	// Evidence is all that the check said; Reason is its first line.
	Evidence string `json:"evidence"`
}

func markerPath(path string) string { return path + ".quarantine" }

func refuseQuarantined(path string) error {
	raw, err := os.ReadFile(markerPath(path))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("open store: %w", err)
	}
	var note quarantineNote
	if json.Unmarshal(raw, &note) != nil || note.File == "" {
		note.File, note.Reason = "(see "+markerPath(path)+")", "its note cannot be read"
	}
	return fmt.Errorf("open store %s: %w: it lies in quarantine as %s: %s. Restore a backup (ssg-agent store restore), or examine it and remove %s",
		path, ErrCorrupt, note.File, note.Reason, markerPath(path))
}

// quarantine moves a damaged file aside. The marker comes first, so that no
// crash in between can leave a place where an empty store would be made.
func quarantine(path, evidence string, now time.Time) error {
	reason, _, _ := strings.Cut(evidence, "\n")
	note := quarantineNote{
		File:   path + ".corrupt-" + now.UTC().Format("20060102T150405Z"),
		Reason: reason, At: now.UTC(), Evidence: evidence,
	}
	raw, err := json.MarshalIndent(note, "", "  ")
	if err != nil {
		return err
	}
	if err := writeSynced(markerPath(path), append(raw, '\n')); err != nil {
		return err
	}
	if err := syncDir(path); err != nil {
		return err
	}
	if err := os.Rename(path, note.File); err != nil {
		return err
	}
	return syncDir(path)
}

func writeSynced(path string, data []byte) error {
	temp := path + ".tmp"
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, fileMode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(temp, path)
}
