package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ssg-safe/agent/fleet/wire"
	"github.com/ssg-safe/agent/hub"
	"github.com/ssg-safe/agent/hub/payouts"
	"github.com/ssg-safe/agent/redact"
)

func newOperatorCmd(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "operator key|passphrase",
		Short: "Make the key that a person signs decisions about money with",
		Long: `Who proposes or approves payouts and refunds signs with a key of his own. The hub
knows the public half, from an [[operator]] of its configuration; the private half
is a file that only that person can read, on this machine or another.

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Args: noArgs,
		RunE: needCommand,
	}
	cmd.AddCommand(newOperatorKeyCmd(g), newOperatorPassphraseCmd(g))
	return cmd
}

func newOperatorKeyCmd(g *globals) *cobra.Command {
	var name, file string
	var asJSON, bare bool
	cmd := &cobra.Command{
		Use:   "key FILE --name NAME",
		Short: "Make a key, and print the lines for the hub's configuration",
		Long: `Key makes a private key in FILE, which must not exist, with mode 0600, and prints
the [[operator]] for the hub's configuration; restart the hub after it. It needs
no hub: each person makes the key under an account of his own. Whoever has the
file decides in that person's name: keep it like the key of a safe, and take the
[[operator]] out when it is lost.

On a terminal it asks for a passphrase, twice, and keeps the key under it: who finds
the file then has to try passphrases, each of which costs him 64 MiB and time. Every
decision asks for it. --no-passphrase keeps the key bare, for trying things out;
elsewhere than on a terminal it is bare unless --passphrase-file says otherwise.

With --json it prints one line {"event":"operator_key","name","key","passphrase"},
passphrase being true or false.

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Example: `  ssg-hub operator key ~/ana.pem --name ana`,
		Args:    oneArg("the file to make"),
	}
	jsonFlag(cmd, &asJSON)
	cmd.Flags().StringVar(&name, "name", "", "the person's `NAME` at the hub")
	passphraseFlag(cmd, &file)
	cmd.Flags().BoolVar(&bare, "no-passphrase", false, "keep the key without a passphrase")
	cmd.MarkFlagsMutuallyExclusive("no-passphrase", "passphrase-file")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !payouts.ValidOperator(name) {
			return usageError{fmt.Errorf("operator key: --name %q: 1 to 32 of a-z, 0-9, '.' and '-'", name)}
		}
		if g.desk != nil {
			return errors.New("operator key: a private key is made where the person is, not by the hub")
		}
		public, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return err
		}
		var secret redact.Secret
		if file != "" || !bare && onTerminal() {
			secret, err = g.newPassphrase(cmd.Context(), file)
		}
		if err == nil {
			err = hub.WriteKey(args[0], key, secret)
		}
		if err != nil {
			return fmt.Errorf("operator key: %w", err)
		}
		if asJSON {
			return json.NewEncoder(g.stdout).Encode(struct {
				Event string `json:"event"`
				Name  string `json:"name"`
				Key   string `json:"key"`

				Passphrase bool `json:"passphrase"`
			}{"operator_key", name, wire.EncodeKey(public), secret != ""})
		}
		if secret == "" && !bare {
			fmt.Fprintf(g.stderr, "%s has no passphrase: whoever has the file decides in the name of %s; see ssg-hub operator passphrase --help\n", args[0], name)
		}
		_, err = fmt.Fprintf(g.stdout, "[[operator]]\nname = %q\nkey = %q\n", name, wire.EncodeKey(public))
		return err
	}
	return cmd
}

// signing are the flags by which a person signs.
type signing struct {
	by, key string
	// passphraseFile has the key's passphrase; empty: it is asked for.
	passphraseFile string
	printOnly      bool
}

func (s *signing) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.by, "by", "", "who decides: the operator's `NAME` at the hub")
	cmd.Flags().StringVar(&s.key, "key", "", "the `FILE` of that person's private key")
	passphraseFlag(cmd, &s.passphraseFile)
	cmd.Flags().BoolVar(&s.printOnly, "print", false, "print what was signed, for payout do, instead of having it done")
	_ = cmd.MarkFlagFilename("key", "pem") // fails for unknown flags only
}
