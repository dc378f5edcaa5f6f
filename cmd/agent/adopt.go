package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ssg-safe/agent/money"
	"github.com/ssg-safe/agent/providers"
	"github.com/ssg-safe/agent/providers/basspago"
	"github.com/ssg-safe/agent/redact"
)

// checkoutReader reads what somebody else made at a provider.
type checkoutReader interface {
	Checkout(ctx context.Context, token redact.Secret) (basspago.Checkout, error)
}

// newAdoptCmd takes over a checkout that was made elsewhere.
func newAdoptCmd(g *globals, f *providerFlags) *cobra.Command {
	var file, merchant, reference string
	var look bool
	cmd := providerCmd("adopt", "Take over a checkout that a shop made (basspago)", `Adopt reads a checkout by its token and has the agent that runs with this
configuration take it over: it becomes a charge of the ledger with the checkout's
amount, is followed until it is paid, and its receipt is printed. The payer pays
where the shop opened it; there is no code to show.

The token opens the checkout to whoever has it, so it is read from a file, or from
the standard input with --token-file -. A checkout is taken over once; asked for
again by this command it is the same charge. One terminal alone should take over a
checkout: another one cannot know. With --look it is shown and nothing is done.`, `adopt --config agent.toml --token-file - < token`, noArgs, func(ctx context.Context, _ []string) error {
		token, err := readToken(g, file)
		if err != nil {
			return err
		}
		reader, cfg, err := ability[checkoutReader](g, f, "a checkout by its token")
		if err != nil {
			return err
		}
		if merchant == "" {
			for _, m := range cfg.Merchants {
				if m.Ways()[0].Provider == f.name && merchant == "" {
					merchant = m.ID
				}
			}
		}
		m, ok := cfg.Merchant(merchant)
		if !ok || m.Ways()[0].Provider != f.name { // checkouts are followed by the first route alone
			return usageError{fmt.Errorf("--merchant %q: no merchant of that id has the provider %s, or has it first", merchant, f.name)}
		}
		k, err := reader.Checkout(ctx, token)
		if err != nil {
			return err
		}
		line := struct {
			Event  string `json:"event"`
			Charge string `json:"charge,omitempty"` // the agent's
			basspago.Checkout
		}{Event: "checkout", Checkout: k}
		if !look {
			if k.Status != providers.StatusPending && k.Status != providers.StatusPaid {
				return fmt.Errorf("checkout %s is %s: it cannot be paid any more", k.Reference, k.Word)
			}
			if reference == "" {
				reference = "checkout/" + k.Reference
			}
			order := struct {
				Reference string       `json:"reference"`
				Amount    money.Amount `json:"amount"`
				Merchant  string       `json:"merchant"`
				Present   string       `json:"present"`
				Checkout  string       `json:"checkout"`
			}{reference, k.Amount, m.ID, "if_free", token.Reveal()}
			var made struct {
				ID string `json:"id"`
			}
			asked, err := askAgentFor(ctx, "adopt", cfg.Data, http.MethodPost, "/v1/charges", order, &made)
			if err != nil {
				return err
			}
			if !asked {
				return fmt.Errorf("no agent runs on %s, and only one that runs can take over a checkout: start it, then say this again", cfg.Data)
			}
			line.Event, line.Charge = "adopted", made.ID
		}
		if f.asJSON {
			return json.NewEncoder(g.stdout).Encode(line)
		}
		if line.Charge != "" {
			fmt.Fprintf(g.stdout, "charge %s\n", line.Charge) // the next line tells of errors
		}
		_, err = fmt.Fprintf(g.stdout, "checkout %s (%s)  %s  %s\n", k.Reference, k.ExternalID, k.Amount.BRL(), k.Word)
		return err
	})
	fs := cmd.Flags()
	fs.StringVar(&file, "token-file", "", "the `FILE` that holds the token; - is the standard input")
	fs.StringVarP(&merchant, "merchant", "m", "", "the merchant's `ID` (default: the first one with this provider)")
	fs.StringVar(&reference, "reference", "", "your own `NAME` of the charge (default: checkout/ and the provider's)")
	fs.BoolVar(&look, "look", false, "show the checkout, and do nothing")
	return cmd
}

// readToken reads a token from a file or the standard input.
func readToken(g *globals, file string) (redact.Secret, error) {
	token, err := g.unseen("the token", file, 1<<16, "which checkout? Give --token-file FILE, or - for the standard input")
	return redact.Secret(token), err
}

// unseen reads what must not stand on a command line: from a file, or at most so many
// bytes of the standard input. Without a file the error is missing.
func (g *globals) unseen(what, file string, most int64, missing string) (string, error) {
	var text []byte
	var err error
	switch file {
	case "":
		return "", usageError{errors.New(missing)}
	case "-":
		text, err = io.ReadAll(io.LimitReader(g.stdin, most))
	default:
		text, err = os.ReadFile(file)
	}
	if err != nil {
		return "", usageError{fmt.Errorf("read %s: %w", what, err)}
	}
	return strings.TrimSpace(string(text)), nil
}
