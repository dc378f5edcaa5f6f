package ledger

import (
	"bufio"
	"encoding/csv"
	"fmt"
	"io"
	"iter"
	"strconv"
)

// WriteJSONL writes entries, such as those of [Entries], exactly as they are
// stored, one a line: what the hashes run over.
func WriteJSONL(w io.Writer, entries iter.Seq2[Position, []byte]) error {
	out := bufio.NewWriter(w)
	for _, raw := range entries {
		if _, err := out.Write(raw); err != nil {
			return fmt.Errorf("export ledger: %w", err)
		}
		if err := out.WriteByte('\n'); err != nil {
			return fmt.Errorf("export ledger: %w", err)
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("export ledger: %w", err)
	}
	return nil
}

// csvHeader names the columns of WriteCSV.
var csvHeader = []string{
	"epoch", "seq", "wall", "quality", "boot", "up_ms", "kind", "op", "actor", "account", "amount_centavos", "evidence", "data", "sha256",
}

// WriteCSV writes one line for each posting of the entries, and one line for an
// entry without postings. Amounts are whole centavos. A text cell that a spreadsheet would take for a formula gets an
// apostrophe in front.
func WriteCSV(w io.Writer, entries iter.Seq2[Position, []byte]) error {
	out := csv.NewWriter(w)
	if err := out.Write(csvHeader); err != nil {
		return fmt.Errorf("export ledger: %w", err)
	}
	for pos, raw := range entries {
		e, err := Decode(raw)
		if err != nil {
			return fmt.Errorf("export ledger: entry %v: %w", pos, err)
		}
		hash := HashOf(raw).String()
		for i := range max(len(e.Postings), 1) {
			account, amount := "", ""
			if len(e.Postings) > 0 {
				account, amount = string(e.Postings[i].Account), strconv.FormatInt(int64(e.Postings[i].Amount), 10)
			}
			err := out.Write([]string{
				strconv.FormatUint(pos.Epoch, 10), strconv.FormatUint(pos.Seq, 10),
				e.At.Wall.Format(wallFormat), string(e.At.Quality), harmless(e.At.Boot), strconv.FormatInt(e.At.Up.Milliseconds(), 10),
				harmless(e.Kind), harmless(e.Op), harmless(e.Actor), harmless(account), amount,
				harmless(string(e.Evidence)), harmless(string(e.Data)), hash,
			})
			if err != nil {
				return fmt.Errorf("export ledger: %w", err)
			}
		}
	}
	out.Flush()
	if err := out.Error(); err != nil {
		return fmt.Errorf("export ledger: %w", err)
	}
	return nil
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
