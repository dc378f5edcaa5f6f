package main

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/ssg-safe/agent/printer"
	"github.com/ssg-safe/agent/printer/slip"
)

// twentyLines is a receipt of 20 lines of text and a code of 177 bytes.
func twentyLines() printer.Document {
	centre := func(s string) printer.Text { return printer.Text{Text: s, Align: printer.Centre} }
	return printer.Document{Blocks: []printer.Block{
		printer.Text{Text: "Padaria São João Ltda", Align: printer.Centre, Bold: true},
		centre("CNPJ 12.345.678/0001-95"),
		centre("Av. Conceição, 1200 - São Paulo/SP"),
		centre("Tel. (11) 3333-4444"),
		printer.Rule{},
		printer.Text{Text: "PAGUE COM PIX", Align: printer.Centre, Bold: true},
		printer.Text{Text: "R$ 1.234,56", Align: printer.Centre, Bold: true, Wide: true, Tall: true},
		printer.QR{Code: someCode(177)},
		centre("Aponte a câmera para o código."),
		centre("Abra o app do seu banco e escolha PIX."),
		printer.Text{Text: "Pague até 21/11/2025 21:45:05", Align: printer.Centre, Bold: true},
		printer.Rule{},
		printer.Pair{Label: "Recebedor", Value: "COFRE TESTE LTDA"},
		printer.Pair{Label: "Terminal", Value: "T001"},
		printer.Pair{Label: "NSU", Value: "000123"},
		printer.Pair{Label: "Emitido em", Value: "21/11/2025 21:30:05"},
		printer.Pair{Label: "TXID", Value: "T0010ABCDEFGHIJKLMNOPQRST"},
		printer.Rule{},
		centre("Atendimento 0800 123 4567"),
		centre("ESTE PAPEL NÃO COMPROVA PAGAMENTO"),
		printer.Text{Text: "NÃO É DOCUMENTO FISCAL", Align: printer.Centre, Bold: true},
		printer.Cut{},
	}}
}

// someCode is a code of n bytes as far as a printer can tell.
func someCode(n int) string {
	return strings.Repeat("00020126580014br.gov.bcb.pix0136123e4567-e89b-", 1+n/46)[:n]
}

// measureSlip encodes slips in rounds.
func measureSlip(ctx context.Context, e *env, s *section) error {
	head := slip.Merchant{Name: "Cofre Demonstração", CNPJ: "11222333000181", Lines: []string{"Rua Exemplo, 1 - Centro", "São Paulo - SP"}}
	at := time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)
	qr := slip.QRSlip{
		Merchant: head, Terminal: "B001", NSU: 123, Amount: 123456, BRCode: someCode(177), TxID: "B0010ABCDEFGHIJKLMNOPQRST",
		ExpiresAt: at.Add(5 * time.Minute), At: at, Copy: 1,
	}
	receipt := slip.Receipt{
		Merchant: head, Terminal: "B001", NSU: 124, Amount: 123456, TxID: "B0010ABCDEFGHIJKLMNOPQRST",
		EndToEnd: "E00000000202601021504abcdefghijk", Provider: "ssg", PaidAt: at, At: at, Copy: 1,
	}
	fixed := twentyLines()
	out := [][]string{{"slip", "paper", "bytes", "encode, p50 of rounds", "p99", "allocations", "target"}}
	for _, c := range []struct {
		name, profile string
		document      func() printer.Document
		gated         bool
	}{
		{"20 lines and a code of 177 bytes", "epson-80", func() printer.Document { return fixed }, true},
		{"20 lines and a code of 177 bytes", "epson-58", func() printer.Document { return fixed }, true},
		{"QR slip, laid out and encoded", "epson-80", qr.Document, false},
		{"receipt, laid out and encoded", "epson-80", receipt.Document, false},
	} {
		p, err := printer.ProfileByName(c.profile)
		if err != nil {
			return err
		}
		job, err := printer.Encode(c.document(), p, "000123/1")
		if err != nil {
			return err
		}
		times, allocs, err := repeat(ctx, e.count(200, 20), 200, func() error {
			_, err := printer.Encode(c.document(), p, "000123/1")
			return err
		})
		if err != nil {
			return err
		}
		verdict := ""
		if c.gated {
			verdict = s.target(c.profile+": ≤ 1.0 KB, ≤ 30 µs", len(job) <= 1024 && median(times) <= 30*time.Microsecond)
		}
		us := func(d time.Duration) string { return fmt.Sprintf("%.1f µs", float64(d)/1e3) }
		out = append(out, []string{
			c.name, c.profile, fmt.Sprint(len(job)), us(median(times)), us(quantile(times, .99)), fmt.Sprintf("%.0f", allocs), verdict,
		})
	}
	s.table(out)
	return nil
}

// repeat calls f in rounds of n and returns each round's mean time, and the
// allocations of one call.
func repeat(ctx context.Context, rounds, n int, f func() error) (times []time.Duration, allocs float64, err error) {
	var before, after runtime.MemStats
	for range n { // warm
		if err := f(); err != nil {
			return nil, 0, err
		}
	}
	runtime.ReadMemStats(&before)
	for range rounds {
		if err := ctx.Err(); err != nil {
			return nil, 0, err
		}
		from := time.Now()
		for range n {
			if err := f(); err != nil {
				return nil, 0, err
			}
		}
		times = append(times, time.Since(from)/time.Duration(n))
	}
	runtime.ReadMemStats(&after)
	return times, float64(after.Mallocs-before.Mallocs) / float64(rounds*n), nil
}
