package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/ssg-safe/agent/hub"
	"github.com/ssg-safe/agent/internal/cli"
	"github.com/ssg-safe/agent/redact"
)

// passphrase reads the passphrase of a key: from a file where one is named, else at the
// terminal that the command was typed on, whatever its input is.
func (g *globals) passphrase(ctx context.Context, file, prompt string) (redact.Secret, error) {
	if file != "" {
		return readPassphrase(file)
	}
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return "", usageError{errors.New("the key is under a passphrase, and there is no terminal to ask for it at: give --passphrase-file FILE")}
	}
	defer tty.Close()
	secret, err := cli.AskHidden(ctx, tty, tty, prompt)
	if err != nil {
		return "", fmt.Errorf("read the passphrase: %w", err)
	}
	return secret, nil
}

// newPassphrase asks for one twice; empty: there is to be none.
func (g *globals) newPassphrase(ctx context.Context, file string) (redact.Secret, error) {
	if file != "" {
		return readPassphrase(file)
	}
	first, err := g.passphrase(ctx, "", fmt.Sprintf("New passphrase, %d characters or more (empty: none): ", hub.MinPassphrase))
	if err != nil || first == "" {
		return "", err
	}
	again, err := g.passphrase(ctx, "", "Again: ")
	if err == nil && first != again {
		err = usageError{errors.New("the two passphrases are not the same: begin again")}
	}
	return first, err
}

// readPassphrase reads the one line of a file that its owner alone can read.
func readPassphrase(path string) (redact.Secret, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("--passphrase-file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", fmt.Errorf("--passphrase-file: %w", err)
	}
	if info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("--passphrase-file: %s can be read by others (mode %04o): chmod 600 it", path, info.Mode().Perm())
	}
	text, err := io.ReadAll(io.LimitReader(f, 1024))
	if err != nil {
		return "", fmt.Errorf("--passphrase-file: %w", err)
	}
	line := strings.TrimRight(string(text), "\r\n")
	if line == "" || strings.ContainsAny(line, "\r\n") {
		return "", usageError{fmt.Errorf("--passphrase-file: %s does not hold one line", path)}
	}
	return redact.Secret(line), nil
}

func passphraseFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVar(file, "passphrase-file", "", "the `FILE` with the key's passphrase (default: it is asked for)")
}

func newOperatorPassphraseCmd(g *globals) *cobra.Command {
	var old, file string
	cmd := &cobra.Command{
		Use:   "passphrase FILE",
		Short: "Put a key under a passphrase, or under another one",
		Long: `Passphrase writes the key in FILE anew, under a passphrase that it asks for twice.
The key stays the same: nothing changes at the hub. What the file held before may
still lie on the disk, and in its backups: a key that may have leaked is replaced,
not put under a passphrase.

Exit codes: 0 done, 1 failed (nothing was changed), 2 wrong usage.`,
		Example: `  ssg-hub operator passphrase ~/ana.pem`,
		Args:    oneArg("the file of the key"),
	}
	passphraseFlag(cmd, &old)
	cmd.Flags().StringVar(&file, "new-passphrase-file", "", "the `FILE` with the new passphrase (default: it is asked for)")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if g.desk != nil {
			return errors.New("operator passphrase: a private key is where the person is, not at the hub")
		}
		key, err := hub.OpenKey(args[0], func() (redact.Secret, error) {
			return g.passphrase(cmd.Context(), old, "Passphrase of "+args[0]+": ")
		})
		var secret redact.Secret
		if err == nil {
			secret, err = g.newPassphrase(cmd.Context(), file)
		}
		if err == nil && secret == "" {
			err = usageError{errors.New("no passphrase was given; the key is as it was")}
		}
		if err == nil {
			err = hub.ReplaceKey(args[0], key, secret)
		}
		if err != nil {
			return fmt.Errorf("operator passphrase: %w", err)
		}
		return nil
	}
	return cmd
}

// onTerminal reports whether a person types at the command's input.
func onTerminal() bool { return term.IsTerminal(int(os.Stdin.Fd())) }
