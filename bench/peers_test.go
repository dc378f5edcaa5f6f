package main

import (
	"encoding/json"
	"testing"

	"github.com/joncrlsn/dque"
)

// The peers work as the comparison assumes: what was recorded is there after
// opening again, and SQLite really has the settings that were asked for.
func TestPeersAreDurable(t *testing.T) {
	const op, data = "op-1", "entry"
	t.Run("dque", func(t *testing.T) {
		dir := t.TempDir()
		s, err := newDque(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.record(t.Context(), 0, op, []byte(data)); err != nil {
			t.Fatal(err)
		}
		if err := s.close(); err != nil {
			t.Fatal(err)
		}
		q, err := dque.Open("queue", dir, dqueSegment, func() any { return new(dqueItem) })
		if err != nil {
			t.Fatal(err)
		}
		defer q.Close()
		got, err := q.Peek()
		if err != nil {
			t.Fatal(err)
		}
		if item, ok := got.(*dqueItem); !ok || item.Op != op || string(item.Data) != data {
			t.Errorf("after opening again: %+v", got)
		}
	})
	t.Run("sqlite", func(t *testing.T) {
		s, err := newSQLite(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer s.close()
		if err := s.record(t.Context(), 0, op, []byte(data)); err != nil {
			t.Fatal(err)
		}
		db := s.(sqliteSubject).db
		for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2"} {
			var got string
			if err := db.QueryRow("pragma " + pragma).Scan(&got); err != nil {
				t.Fatal(err)
			}
			if got != want {
				t.Errorf("pragma %s is %s, want %s", pragma, got, want)
			}
		}
		var gotOp, gotData string
		if err := db.QueryRow("select op, data from outbox").Scan(&gotOp, &gotData); err != nil {
			t.Fatal(err)
		}
		if gotOp != op || gotData != data {
			t.Errorf("row %s, %s", gotOp, gotData)
		}
	})
}

func TestPayload(t *testing.T) {
	var c content
	if got := payload(); len(got) != payloadSize || json.Unmarshal(got, &c) != nil {
		t.Errorf("payload of %d bytes: %s", len(got), got)
	}
}
