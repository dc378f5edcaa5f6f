package hub

import (
	"bufio"
	"encoding/csv"
	"fmt"
	"io"
	"iter"
	"strconv"

	"github.com/ssg-safe/agent/ledger"
)

// WriteJSONL writes entries exactly as the device sent them, one a line: what
// the hashes run over. Use it with [Tx.Entries] or [Tx.Aside].
func WriteJSONL(w io.Writer, entries iter.Seq2[Entry, error]) error {
	out := bufio.NewWriter(w)
	for e, err := range entries {
		if err != nil {
			return fmt.Errorf("export: %w", err)
		}
		if _, err := out.Write(e.Bytes); err != nil {
			return fmt.Errorf("export: %w", err)
		}
		if err := out.WriteByte('\n'); err != nil {
			return fmt.Errorf("export: %w", err)
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	return nil
}

// csvHeader names the columns of WriteCSV, which are those of the terminal's own
// export.
var csvHeader = []string{
	"epoch", "seq", "wall", "quality", "boot", "up_ms", "kind", "op", "actor", "account", "amount_centavos", "evidence", "data", "sha256",
}

const wallFormat = "2006-01-02T15:04:05.000Z"

// WriteCSV writes one line for each posting, and one line for an entry without
// postings; amounts are whole centavos. An entry that cannot be read has its
// position, kind "?" and its hash. A text cell that a spreadsheet would take for
// a formula gets an apostrophe in front.
func WriteCSV(w io.Writer, entries iter.Seq2[Entry, error]) error {
	out := csv.NewWriter(w)
	if err := out.Write(csvHeader); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	for e, err := range entries {
		if err != nil {
			return fmt.Errorf("export: %w", err)
		}
		for _, row := range csvRows(e) {
			if err := out.Write(row); err != nil {
				return fmt.Errorf("export: %w", err)
			}
		}
	}
	if out.Flush(); out.Error() != nil {
		return fmt.Errorf("export: %w", out.Error())
	}
	return nil
}

func csvRows(e Entry) [][]string {
	epoch, seq, hash := strconv.FormatUint(e.Epoch, 10), strconv.FormatUint(e.Seq, 10), e.Hash.String()
	d, err := ledger.Decode(e.Bytes)
	if err != nil {
		return [][]string{{epoch, seq, "", "", "", "", "?", "", "", "", "", "", "", hash}}
	}
	var rows [][]string
	for i := range max(len(d.Postings), 1) {
		account, amount := "", ""
		if len(d.Postings) > 0 {
			account, amount = string(d.Postings[i].Account), strconv.FormatInt(int64(d.Postings[i].Amount), 10)
		}
		rows = append(rows, []string{
			epoch, seq, d.At.Wall.Format(wallFormat), string(d.At.Quality), harmless(d.At.Boot), strconv.FormatInt(d.At.Up.Milliseconds(), 10),
			harmless(d.Kind), harmless(d.Op), harmless(d.Actor), harmless(account), amount, harmless(string(d.Evidence)), harmless(string(d.Data)), hash,
		})
	}
	return rows
}

// harmless disarms text that a spreadsheet would run as a formula.
func harmless(s string) string {
	if s == "" {
		return s
	}
	switch s[0] {
	case '=', '+', '-', '@', '\t', '\r', '\n':
		return "'" + s
	}
	return s
}
