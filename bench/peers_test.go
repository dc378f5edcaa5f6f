package bench

import (
	"database/sql"
	"path/filepath"
	"testing"

	"github.com/joncrlsn/dque"
	_ "modernc.org/sqlite" // database/sql driver "sqlite"

	_ "github.com/ssg-safe/agent/ledger" // what is compared
	_ "github.com/ssg-safe/agent/queue"
	_ "github.com/ssg-safe/agent/store"
)

// record is what one durable operation leaves behind.
type record struct {
	Op   string
	Data []byte
}

// openDque opens a dque that syncs every item to disk, as our store does.
func openDque(tb testing.TB, dir string) *dque.DQue {
	tb.Helper()
	q, err := dque.NewOrOpen("queue", dir, 1000, func() any { return new(record) })
	if err != nil {
		tb.Fatal(err)
	}
	if q.Turbo() {
		tb.Fatal("dque does not sync every item")
	}
	tb.Cleanup(func() { q.Close() })
	return q
}

// openSQLite opens an outbox in SQLite that is durable at every commit.
func openSQLite(tb testing.TB, dir string) *sql.DB {
	tb.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "outbox.db")+
		"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=busy_timeout(10000)&_txlock=immediate")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { db.Close() })
	if _, err := db.Exec(`create table outbox (seq integer primary key autoincrement, op text not null unique, data blob not null)`); err != nil {
		tb.Fatal(err)
	}
	return db
}

// The peers work as the comparison assumes: what was written is there after
// opening again, and SQLite really has the settings asked for.
func TestPeersAreDurable(t *testing.T) {
	want := record{"op-1", []byte("entry")}
	t.Run("dque", func(t *testing.T) {
		dir := t.TempDir()
		q := openDque(t, dir)
		if err := q.Enqueue(&want); err != nil {
			t.Fatal(err)
		}
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
		got, err := openDque(t, dir).Peek()
		if err != nil {
			t.Fatal(err)
		}
		if r := got.(*record); r.Op != want.Op || string(r.Data) != string(want.Data) {
			t.Errorf("got %+v, want %+v", *r, want)
		}
	})
	t.Run("sqlite", func(t *testing.T) {
		dir := t.TempDir()
		db := openSQLite(t, dir)
		var journal string
		var synchronous int
		if err := db.QueryRow(`pragma journal_mode`).Scan(&journal); err != nil {
			t.Fatal(err)
		}
		if err := db.QueryRow(`pragma synchronous`).Scan(&synchronous); err != nil {
			t.Fatal(err)
		}
		if journal != "wal" || synchronous != 2 {
			t.Errorf("journal %s, synchronous %d; want wal and 2 (FULL)", journal, synchronous)
		}
		if _, err := db.Exec(`insert into outbox (op, data) values (?, ?)`, want.Op, want.Data); err != nil {
			t.Fatal(err)
		}
		if _, err := db.Exec(`insert into outbox (op, data) values (?, ?)`, want.Op, want.Data); err == nil {
			t.Error("the same operation was accepted twice")
		}
		var got record
		if err := db.QueryRow(`select op, data from outbox`).Scan(&got.Op, &got.Data); err != nil {
			t.Fatal(err)
		}
		if got.Op != want.Op || string(got.Data) != string(want.Data) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})
}
