package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/pix"
)

func newPixCmd(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pix encode|decode",
		Short: "Write and read BR Codes, the text inside PIX QR codes",
		Long: `A BR Code is the text inside a PIX QR code, also known as "copia e cola".
These commands need no configuration and touch no network.

Exit codes: 0 done, 1 refused (the tag at fault is named), 2 wrong usage.`,
		Args: noArgs,
		RunE: needCommand,
	}
	cmd.AddCommand(newPixEncodeCmd(g), newPixDecodeCmd(g))
	return cmd
}

func newPixEncodeCmd(g *globals) *cobra.Command {
	var s pix.Static
	var amount string
	cmd := &cobra.Command{
		Use:   "encode --key KEY --name NAME --city CITY [--amount AMOUNT] [--txid ID]",
		Short: "Write a static BR Code",
		Long: `Encode prints a static BR Code. The type of the key that was recognised, and
name, city and description where accents were folded, go to the standard error
stream. Eleven digits are always a CPF; a phone starts with +55. Without --amount
the payer types the amount; without --txid the code carries "***".

Exit codes: 0 done, 1 refused (all tags and characters at fault are named),
2 wrong usage.`,
		Example: `  ssg-agent pix encode --key 12ABC34501DE35 --amount 100,50 --name "Cofre Teste Ltda" --city "São Paulo"
  ssg-agent pix encode --key +5561912345678 --name Fulano --city Brasília --txid K01N0000000000000000000A1`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var missing []string
			for _, flag := range []string{"key", "name", "city"} {
				if !cmd.Flags().Changed(flag) {
					missing = append(missing, "--"+flag)
				}
			}
			if len(missing) > 0 {
				return usageError{fmt.Errorf("pix encode: missing %s\nSee '%s --help'", strings.Join(missing, ", "), cmd.CommandPath())}
			}
			if cmd.Flags().Changed("amount") {
				a, err := parseAmount(amount)
				if err != nil {
					return usageError{fmt.Errorf("pix encode: --amount: %w", err)}
				}
				if a == 0 {
					return usageError{errors.New("pix encode: --amount is zero: leave it out where the payer types the amount")}
				}
				s.Amount = a
			}
			return pixEncode(g, s)
		},
	}
	f := cmd.Flags()
	f.StringVar(&s.Key, "key", "", "PIX key of the payee, exactly as registered")
	f.StringVar(&amount, "amount", "", `amount in reais, such as 123.45, 123,45 or "R$ 1.234,56"`)
	f.StringVar(&s.Name, "name", "", "name of the payee, 1 to 25 characters")
	f.StringVar(&s.City, "city", "", "city of the payee, 1 to 15 characters")
	f.StringVar(&s.TxID, "txid", "", "id of the payment, 1 to 25 letters and digits")
	f.StringVar(&s.Description, "description", "", "text for the payer, up to 72 characters less what key and facilitator take")
	f.StringVar(&s.Facilitator, "facilitator", "", "ISPB of the withdrawal facilitator (Pix Saque), 8 characters")
	return cmd
}

// parseAmount reads both notations. They cannot be confused: only the Brazilian
// one has a comma or a currency sign, and in the other one "1.234" is finer
// than a centavo and refused.
func parseAmount(text string) (money.Amount, error) {
	if strings.ContainsAny(text, ",$") {
		return money.ParseBR(text)
	}
	return money.Parse(text)
}

func pixEncode(g *globals, s pix.Static) error {
	code, err := s.Encode()
	if err != nil {
		return fmt.Errorf("pix encode: this code cannot be written:\n%w", err)
	}
	key, err := pix.RecogniseKey(s.Key)
	if err != nil {
		return fmt.Errorf("pix encode: %w", err)
	}
	fmt.Fprintf(g.stderr, "key type: %s\n", key.Type)
	for _, field := range []struct{ name, value string }{{"name", s.Name}, {"city", s.City}, {"description", s.Description}} {
		if folded := pix.Fold(field.value); folded != field.value {
			fmt.Fprintf(g.stderr, "%s without accents: %s\n", field.name, folded)
		}
	}
	_, err = fmt.Fprintln(g.stdout, code)
	return err
}

func newPixDecodeCmd(g *globals) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "decode [CODE|-]",
		Short: "Read a BR Code and say what is wrong with it",
		Long: `Decode takes a static, dynamic or composite BR Code apart, as a tolerant scanner
would. Without an argument, or with "-", it reads standard input. What can be
read but should never have been written is a warning.

Values are printed verbatim as in the code; a txid of "***" means none. With
--json there is one line: type (static, static_saque, dynamic, dynamic_cobv or
recurrence), key, keyType (cpf, cnpj, phone, email, evp, or null for a key of no
valid form), url, recUrl, amount, name (and the same as merchant), city,
postalCode, txid, description, fss, poi and mcc, those that the code has;
warnings, and errors where it cannot be read, each with tag, rule, found and
want; and fields, the whole tree of tags.

Exit codes: 0 readable, 1 not readable (the tag at fault is named), 2 wrong
usage.`,
		Example: `  ssg-agent pix decode 00020126580014br.gov.bcb.pix0136123e4567-…
  zbarimg -q --raw slip.png | ssg-agent pix decode --json -`,
		Args: codeArg(0),
		RunE: func(_ *cobra.Command, args []string) error {
			text, err := readCode(g, args)
			if err != nil {
				return fmt.Errorf("pix decode: %w", err)
			}
			code, problem := pix.Parse(text)
			if asJSON {
				err = writeCodeJSON(g.stdout, code, problem)
			} else {
				err = writeCode(g, code, problem)
			}
			if problem != nil {
				return fmt.Errorf("pix decode: this code cannot be read:\n%w", problem)
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object")
	return cmd
}

// codeArg wants a code as one argument, or none where least is 0.
func codeArg(least int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) > 1:
			return usageError{fmt.Errorf("%s: %d arguments, want one code\nQuote the code: names and cities hold spaces", cmd.Name(), len(args))}
		case len(args) < least:
			return usageError{fmt.Errorf("%s: want a code, or - for standard input\nSee '%s --help'", cmd.Name(), cmd.CommandPath())}
		}
		return nil
	}
}

// readCode is the code of the command line or of standard input, without the
// white space that comes along when people paste.
func readCode(g *globals, args []string) (string, error) {
	if len(args) > 0 && args[0] != "-" {
		return strings.TrimSpace(args[0]), nil
	}
	const most = 64 << 10 // far beyond any code; the reader of codes says how long one may be
	data, err := io.ReadAll(io.LimitReader(g.stdin, most))
	if err != nil {
		return "", fmt.Errorf("read standard input: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}

// writeCode prints fields and warnings for people. Nothing is printed of a code
// that cannot be read: half of a payment code is worse than none.
func writeCode(g *globals, c pix.Code, problem error) error {
	if problem != nil {
		return nil
	}
	keyType := string(c.KeyType)
	if c.Key != "" && keyType == "" {
		keyType = "not valid"
	}
	var b strings.Builder
	for _, line := range []struct{ name, value string }{
		{"type", string(c.Kind)},
		{"key", c.Key},
		{"key type", keyType},
		{"url", c.URL},
		{"recurrence url", c.RecURL},
		{"amount", c.Amount},
		{"name", c.Name},
		{"city", c.City},
		{"postal code", c.PostalCode},
		{"txid", c.TxID},
		{"description", c.Description},
		{"facilitator", c.Facilitator},
		{"initiation", c.POI},
		{"category", c.MCC},
	} {
		if line.value != "" {
			fmt.Fprintf(&b, "%-15s %s\n", line.name, printable(line.value))
		}
	}
	for _, p := range c.Warnings {
		fmt.Fprintf(g.stderr, "warning: %v\n", p)
	}
	_, err := io.WriteString(g.stdout, b.String())
	return err
}

// printable quotes a value that would do something to the terminal.
func printable(value string) string {
	if strings.ContainsFunc(value, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(value)
	}
	return value
}

// codeJSON is the line of pix decode --json. Its names are a contract.
type codeJSON struct {
	Type        pix.Kind        `json:"type,omitempty"`
	Key         string          `json:"key,omitempty"`
	KeyType     json.RawMessage `json:"keyType,omitempty"` // null: no valid form
	URL         string          `json:"url,omitempty"`
	RecURL      string          `json:"recUrl,omitempty"`
	Amount      string          `json:"amount,omitempty"`
	Name        string          `json:"name,omitempty"`
	Merchant    string          `json:"merchant,omitempty"` // Name again, as the vectors call it
	City        string          `json:"city,omitempty"`
	PostalCode  string          `json:"postalCode,omitempty"`
	TxID        string          `json:"txid,omitempty"`
	Description string          `json:"description,omitempty"`
	FSS         string          `json:"fss,omitempty"`
	POI         string          `json:"poi,omitempty"`
	MCC         string          `json:"mcc,omitempty"`
	Errors      []pix.Problem   `json:"errors,omitempty"`
	Warnings    []pix.Problem   `json:"warnings"`
	Fields      []pix.Field     `json:"fields"`
}

func writeCodeJSON(w io.Writer, c pix.Code, problem error) error {
	line := codeJSON{Warnings: append([]pix.Problem{}, c.Warnings...), Fields: append([]pix.Field{}, c.Fields...)}
	if ps, ok := errors.AsType[pix.Problems](problem); ok {
		line.Errors = ps
	} else {
		line.Type, line.Key, line.URL, line.RecURL = c.Kind, c.Key, c.URL, c.RecURL
		line.Amount, line.Name, line.Merchant, line.City = c.Amount, c.Name, c.Name, c.City
		line.PostalCode, line.TxID, line.Description = c.PostalCode, c.TxID, c.Description
		line.FSS, line.POI, line.MCC = c.Facilitator, c.POI, c.MCC
		if c.KeyType != "" {
			line.KeyType = json.RawMessage(strconv.Quote(string(c.KeyType)))
		} else if c.Key != "" {
			line.KeyType = json.RawMessage("null")
		}
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(line)
}
