package emulator

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
)

// tray is where slips fall: the newest in memory, and all of them in a
// directory if there is one. A slip there is three files: slip-000001.bin, its
// bytes; .png, its picture; .json, what else is known of it. Each is replaced
// as a whole, so that whoever reads the directory, or ends the process at any
// moment, finds no half slip.
type tray struct {
	dir    string
	keep   int
	slips  []Slip
	number int             // of the last slip
	index  map[[4]byte]int // slip of a process id, in dir
	loaded bool
}

// record is the .json file.
type record struct {
	Number     int       `json:"number"`
	ProcessIDs []string  `json:"process_ids"` // hexadecimal
	Text       []string  `json:"text"`
	Problems   []Problem `json:"problems,omitempty"`
}

// put takes a slip that fell.
func (t *tray) put(s Slip) error {
	if err := t.load(); err != nil {
		return err
	}
	t.number++
	s.Number = t.number
	if t.dir != "" {
		s.BytesFile, s.PNGFile = t.file(s.Number, "bin"), t.file(s.Number, "png")
		if err := replace(s.PNGFile, s.PNG); err != nil {
			return err
		}
		if err := t.store(s); err != nil {
			return err
		}
	}
	if len(t.slips) == t.keep {
		t.slips = slices.Delete(t.slips, 0, 1)
	}
	t.slips = append(t.slips, s)
	return nil
}

// confirm notes that a process id was answered for the last slip, and the
// bytes that asked.
func (t *tray) confirm(id [4]byte, asked []byte) error {
	s := &t.slips[len(t.slips)-1]
	if len(s.ProcessIDs) == maxProblems {
		return nil // no job asks so often
	}
	s.ProcessIDs = appendID(s.ProcessIDs, id)
	s.Bytes = slices.Concat(s.Bytes, asked)
	if t.dir == "" {
		return nil
	}
	return t.store(*s)
}

// store writes bytes and record.
func (t *tray) store(s Slip) error {
	err := replace(s.BytesFile, func(w io.Writer) error {
		_, err := w.Write(s.Bytes)
		return err
	})
	if err != nil {
		return err
	}
	r := record{Number: s.Number, ProcessIDs: []string{}, Text: s.lines, Problems: s.Problems}
	for _, id := range s.ProcessIDs {
		r.ProcessIDs = append(r.ProcessIDs, hex.EncodeToString(id[:]))
		t.index[id] = s.Number
	}
	return replace(t.file(s.Number, "json"), func(w io.Writer) error { return json.NewEncoder(w).Encode(r) })
}

func (t *tray) file(number int, ext string) string {
	return filepath.Join(t.dir, fmt.Sprintf("slip-%06d.%s", number, ext))
}

// find looks in memory first, newest first.
func (t *tray) find(id [4]byte) (Slip, bool, error) {
	for _, s := range slices.Backward(t.slips) {
		if slices.Contains(s.ProcessIDs, id) {
			return s, true, nil
		}
	}
	if err := t.load(); err != nil {
		return Slip{}, false, err
	}
	n, ok := t.index[id]
	if !ok {
		return Slip{}, false, nil
	}
	s, err := t.read(n)
	return s, err == nil, err
}

// read gets a slip back from the directory.
func (t *tray) read(number int) (Slip, error) {
	r, err := readRecord(t.file(number, "json"))
	if err != nil {
		return Slip{}, err
	}
	s := Slip{
		Number: number, Problems: r.Problems, lines: r.Text,
		BytesFile: t.file(number, "bin"), PNGFile: t.file(number, "png"),
	}
	if s.ProcessIDs, err = r.ids(); err != nil {
		return Slip{}, err
	}
	s.Bytes, err = os.ReadFile(s.BytesFile)
	return s, err
}

// load reads what lies in the directory since earlier runs.
func (t *tray) load() error {
	if t.loaded || t.dir == "" {
		return nil
	}
	if err := os.MkdirAll(t.dir, 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(t.dir)
	if err != nil {
		return err
	}
	t.index = make(map[[4]byte]int)
	for _, e := range entries {
		var n int
		var ext string
		if k, err := fmt.Sscanf(e.Name(), "slip-%d.%s", &n, &ext); err != nil || k != 2 {
			continue
		}
		t.number = max(t.number, n)
		if ext != "json" {
			continue
		}
		r, err := readRecord(filepath.Join(t.dir, e.Name()))
		if err != nil {
			return err
		}
		ids, err := r.ids()
		if err != nil {
			return fmt.Errorf("%s: %w", e.Name(), err)
		}
		for _, id := range ids {
			t.index[id] = n
		}
	}
	t.loaded = true
	return nil
}

func readRecord(name string) (record, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return record{}, err
	}
	var r record
	if err := json.Unmarshal(b, &r); err != nil {
		return record{}, fmt.Errorf("%s: %w", name, err)
	}
	return r, nil
}

func (r record) ids() ([][4]byte, error) {
	var ids [][4]byte
	for _, h := range r.ProcessIDs {
		b, err := hex.DecodeString(h)
		if err != nil || len(b) != 4 {
			return nil, fmt.Errorf("process id %q", h)
		}
		ids = append(ids, [4]byte(b))
	}
	return ids, nil
}

// replace writes a file as a whole. A killed process leaves the old one or the
// new one; the power of the host is not what virtual paper must survive, so
// nothing is synced.
func replace(name string, write func(io.Writer) error) error {
	var b bytes.Buffer
	if err := write(&b); err != nil {
		return err
	}
	tmp := name + ".tmp"
	if err := os.WriteFile(tmp, b.Bytes(), 0o600); err != nil {
		return err
	}
	if err := os.Rename(tmp, name); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	return nil
}
