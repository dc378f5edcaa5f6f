package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/ssg-safe/agent/providers/bspay"
)

// What BSPAY's API has and no other's: infractions, other currencies, money
// between accounts.

// bspayCommands are the commands below provider that need this provider.
func bspayCommands(g *globals, f *providerFlags) []*cobra.Command {
	return []*cobra.Command{
		newInfractionsCmd(g, f), newWalletCmd(g, f), newDepositCmd(g, f), newConvertCmd(g, f), newTransferCmd(g, f), newWithdrawCmd(g, f),
	}
}

// bspayClient opens the provider, which must be of type bspay.
func bspayClient(g *globals, f *providerFlags, what string) (*bspay.Client, error) {
	c, _, err := ability[*bspay.Client](g, f, what)
	return c, err
}

func newInfractionsCmd(g *globals, f *providerFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "infractions list|show|reply",
		Short: "Disputes that payers opened with their banks (bspay)",
		Long: `An infraction is a payer's complaint at his bank that a payment was a fraud. It has
to be answered within seven days, or the money may be taken back.

Exit codes: 0 done, 1 failed or not to be had from this provider, 2 wrong usage or
configuration.`,
		Args: noArgs,
		RunE: needCommand,
	}
	var q bspay.InfractionQuery
	list := providerCmd("list", "List infractions", "List shows the account's infractions, one a line, as JSON.", `infractions list --config agent.toml`, noArgs, func(ctx context.Context, _ []string) error {
		c, err := bspayClient(g, f, "infractions")
		if err != nil {
			return err
		}
		all, err := c.Infractions(ctx, q)
		if err != nil {
			return err
		}
		return show(g.stdout, f.asJSON, all, "INFRACTION", func(one json.RawMessage) string { return string(one) })
	})
	list.Flags().StringVar(&q.Status, "status", "", "only those with a `STATUS`, in the provider's word")
	list.Flags().StringVar(&q.Type, "type", "", "only those of a `TYPE`, in the provider's word")
	var message string
	var files []string
	reply := providerCmd("reply ID", "Answer an infraction", fmt.Sprintf(`Reply sends a message of at most %d characters and up to %d files (PDF, JPEG or PNG,
%d MiB each). When its outcome is unknown, 'infractions show' tells whether it arrived.`,
		bspay.MaxReplyMessage, bspay.MaxReplyFiles, bspay.MaxReplyFile>>20), `infractions reply inf_123 --config agent.toml --message "A mercadoria foi entregue." --file recibo.pdf`, cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
		var all []bspay.ReplyFile
		for _, path := range files {
			content, err := os.ReadFile(path)
			if err != nil {
				return usageError{err}
			}
			all = append(all, bspay.ReplyFile{Name: filepath.Base(path), Type: http.DetectContentType(content), Content: content})
		}
		c, err := bspayClient(g, f, "infractions")
		if err != nil {
			return err
		}
		text, err := c.ReplyInfraction(ctx, args[0], message, all)
		if err != nil {
			return err
		}
		return f.told(g.stdout, "reply", text)
	})
	reply.Flags().StringVarP(&message, "message", "m", "", "what happened, in `WORDS` for the payer's bank")
	reply.Flags().StringArrayVarP(&files, "file", "f", nil, "a `FILE` that shows it; may be repeated")
	cmd.AddCommand(list, reply, providerCmd("show ID", "Show an infraction with its replies", "Show prints one infraction with its replies, as JSON.", `infractions show inf_123 --config agent.toml`, cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
		c, err := bspayClient(g, f, "infractions")
		if err != nil {
			return err
		}
		text, err := c.Infraction(ctx, args[0])
		if err != nil {
			return err
		}
		return f.told(g.stdout, "infraction", text)
	}))
	return cmd
}

// order is what moves money outside the ledger: it has an id and is confirmed.
type order struct {
	id  string
	yes bool
}

func (o *order) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.id, "id", "", "your own `ID` of the order: given again, it is the same order")
	cmd.Flags().BoolVar(&o.yes, "yes", false, "do it; without this nothing is sent")
}

// confirmed refuses an order that was not meant.
func (o *order) confirmed(format string, a ...any) error {
	switch {
	case o.id == "":
		return usageError{errors.New("an order needs an --id of your own, so that sending it again does not do it twice")}
	case !o.yes:
		return usageError{fmt.Errorf("nothing was sent. This would "+format+"; add --yes to do it", a...)}
	}
	return nil
}

const outside = `

It moves money at the provider, signed with bspay.signing_key, and leaves no trace in
this terminal's ledger. When its outcome is unknown send it again with the same
--id: that is the same order.`

func newWalletCmd(g *globals, f *providerFlags) *cobra.Command {
	var chain string
	cmd := providerCmd("wallet CURRENCY", "The address at which a coin arrives (bspay)", "Wallet prints the account's address for a currency, such as USDT.", `wallet USDT --chain tron --config agent.toml`, cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
		c, err := bspayClient(g, f, "wallets")
		if err != nil {
			return err
		}
		text, err := c.Wallet(ctx, args[0], chain)
		if err != nil {
			return err
		}
		return f.told(g.stdout, "wallet", text)
	})
	cmd.Flags().StringVar(&chain, "chain", "", "the `CHAIN` that the coin comes from, such as tron")
	return cmd
}

func newDepositCmd(g *globals, f *providerFlags) *cobra.Command {
	var d bspay.Deposit
	cmd := providerCmd("deposit AMOUNT CURRENCY", "Make a charge in another currency than BRL (bspay)", `Deposit asks to be paid in another currency. It is not a charge of the terminal: it is
neither shown nor printed nor in the ledger. Sent again with the same --id it is the
same one.`, `deposit 25.00 USDT --chain tron --id dep-1 --config agent.toml`, cobra.ExactArgs(2), func(ctx context.Context, args []string) error {
		c, err := bspayClient(g, f, "other currencies")
		if err != nil {
			return err
		}
		d.Amount, d.Currency = args[0], args[1]
		text, err := c.Deposit(ctx, d)
		if err != nil {
			return err
		}
		return f.told(g.stdout, "deposit", text)
	})
	cmd.Flags().StringVar(&d.ExternalID, "id", "", "your own `ID` of it")
	cmd.Flags().StringVar(&d.Chain, "chain", "", "the `CHAIN` that the coin comes from, such as tron")
	return cmd
}

func newConvertCmd(g *globals, f *providerFlags) *cobra.Command {
	var o order
	cmd := providerCmd("convert AMOUNT FROM TO", "Change money of one currency into another (bspay)", `Convert shows the rate and what would come out, and moves nothing. With --id and --yes
it does it.`+outside, `convert 100.00 BRL USDT --config agent.toml`, cobra.ExactArgs(3), func(ctx context.Context, args []string) error {
		c, err := bspayClient(g, f, "rates")
		if err != nil {
			return err
		}
		v := bspay.Conversion{Amount: args[0], From: args[1], To: args[2], ExternalID: o.id}
		if o.yes || o.id != "" {
			if err := o.confirmed("change %s %s into %s", v.Amount, v.From, v.To); err != nil {
				return err
			}
			text, err := c.Convert(ctx, v)
			if err != nil {
				return err
			}
			return f.told(g.stdout, "conversion", text)
		}
		rate, err := c.Rate(ctx, v)
		if err != nil {
			return err
		}
		outcome, err := c.Simulate(ctx, v)
		if err != nil {
			return err
		}
		return errors.Join(f.told(g.stdout, "rate", rate), f.told(g.stdout, "simulation", outcome))
	})
	o.flags(cmd)
	return cmd
}

func newTransferCmd(g *globals, f *providerFlags) *cobra.Command {
	var o order
	cmd := providerCmd("transfer AMOUNT CURRENCY USERNAME", "Send money to another account at the provider (bspay)",
		"Transfer moves money to the account of a user of the same provider."+outside, `transfer 100.00 BRL parceiro --id tr-1 --config agent.toml`, cobra.ExactArgs(3), func(ctx context.Context, args []string) error {
			if err := o.confirmed("send %s %s to %s", args[0], args[1], args[2]); err != nil {
				return err
			}
			c, err := bspayClient(g, f, "transfers")
			if err != nil {
				return err
			}
			text, err := c.Transfer(ctx, bspay.Transfer{Amount: args[0], Currency: args[1], Username: args[2], ExternalID: o.id})
			if err != nil {
				return err
			}
			return f.told(g.stdout, "transfer", text)
		})
	o.flags(cmd)
	return cmd
}

func newWithdrawCmd(g *globals, f *providerFlags) *cobra.Command {
	var o order
	var w bspay.Withdrawal
	cmd := providerCmd("withdraw AMOUNT CURRENCY ADDRESS", "Send another currency than BRL away (bspay)",
		"Withdraw sends a coin to an address, or money to an account abroad. BRL is refused:\na payout by PIX needs an approval, which this command does not ask for."+outside, `withdraw 25.00 USDT ADDRESS --network tron --id wd-1 --config agent.toml`, cobra.ExactArgs(3), func(ctx context.Context, args []string) error {
			if err := o.confirmed("send %s %s to %s", args[0], args[1], args[2]); err != nil {
				return err
			}
			c, err := bspayClient(g, f, "withdrawals")
			if err != nil {
				return err
			}
			w.ExternalID, w.Amount, w.Currency, w.Key = o.id, args[0], args[1], args[2]
			text, err := c.Withdraw(ctx, w)
			if err != nil {
				return err
			}
			return f.told(g.stdout, "withdrawal", text)
		})
	cmd.Flags().StringVar(&w.Network, "network", "", "the `NETWORK` that carries the coin, such as tron")
	cmd.Flags().StringVar(&w.Name, "name", "", "the receiver's `NAME`, for a bank transfer")
	cmd.Flags().StringVar(&w.BankCode, "bank-code", "", "the receiver's bank, for a bank transfer")
	o.flags(cmd)
	return cmd
}
