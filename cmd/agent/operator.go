package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/ssg-safe/agent/internal/cli"
	"github.com/ssg-safe/agent/operator"
	"github.com/ssg-safe/agent/operator/pin"
	"github.com/ssg-safe/agent/redact"
)

func newOperatorCmd(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "operator hash",
		Short: "Hash the PIN of an operator",
		Long: `Operators open the menu on the kiosk's screen with a number and a PIN
([[operator]] in the configuration, docs/operating.md).

Exit codes: 0 done, 1 failed, 2 wrong usage, or a PIN that is refused.`,
		Args: noArgs,
		RunE: needCommand,
	}
	cmd.AddCommand(newOperatorHashCmd(g))
	return cmd
}

func newOperatorHashCmd(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "hash",
		Short: "Hash a PIN for the configuration",
		Long: fmt.Sprintf(`Hash asks for a PIN twice without showing it, or reads it from standard input, and
prints its argon2id hash: the value of pin in [[operator]].

A PIN has %d to %d digits. Those that people try first are refused: repeated or
counted digits, two different digits only, dates. The hash is a secret, too: whoever
has it can try all PINs. Put it into a file of its own that the agent alone can read.

Exit codes: 0 done, 1 failed, 2 wrong usage, or a PIN that is refused.`, pin.MinDigits, pin.MaxDigits),
		Example: `  ssg-agent operator hash
  ssg-agent operator hash | sudo install -m 600 /dev/stdin /etc/ssg-agent/secrets/operator-12.pin`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			secret, err := readPIN(cmd.Context(), g)
			if err != nil {
				return err
			}
			h, err := pin.New(secret)
			if err != nil {
				return usageError{fmt.Errorf("operator hash: %w", err)}
			}
			_, err = fmt.Fprintln(g.stdout, h.PHC().Reveal())
			return err
		},
	}
}

// readPIN asks for a PIN on a terminal, else reads one line.
func readPIN(ctx context.Context, g *globals) (redact.Secret, error) {
	tty, ok := g.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(tty.Fd())) {
		line, err := bufio.NewReader(io.LimitReader(g.stdin, 1024)).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return "", fmt.Errorf("operator hash: read the PIN: %w", err)
		}
		return redact.Secret(strings.TrimRight(line, "\r\n")), nil
	}
	first, err := askPIN(ctx, g, tty, "PIN: ")
	if err != nil {
		return "", err
	}
	if err := pin.Check(first); err != nil {
		return "", usageError{fmt.Errorf("operator hash: %w", err)}
	}
	again, err := askPIN(ctx, g, tty, "Again: ")
	if err != nil {
		return "", err
	}
	if first != again {
		return "", usageError{errors.New("operator hash: the two PINs are not the same: begin again")}
	}
	return first, nil
}

// askPIN asks for a PIN without showing it.
func askPIN(ctx context.Context, g *globals, tty *os.File, prompt string) (redact.Secret, error) {
	secret, err := cli.AskHidden(ctx, tty, g.stderr, prompt)
	if err != nil {
		return "", fmt.Errorf("operator hash: read the PIN: %w", err)
	}
	return secret, nil
}

var operatorID = regexp.MustCompile(`^[0-9]{1,6}$`)

func (c Config) validateOperators(ps *problems) {
	seen := map[string]string{}
	for i, o := range c.Operators {
		at := fmt.Sprintf("operator[%d]", i)
		if o.ID != "" && !operatorID.MatchString(o.ID) {
			ps.fail(at+".id", "is no number of 1 to 6 digits", `write what the operator types at the keypad: id = "12"`)
		}
		unique(ps, seen, "operator "+o.ID, at, "id")
		if o.PIN.Value == "" { // the schema's business, or a credential that is not to be had here
			continue
		}
		h, err := pin.Parse(o.PIN.Value)
		switch {
		case err != nil:
			ps.fail(at+".pin", "is "+err.Error(), "make it anew: ssg-agent operator hash")
		case h.Weak() != "":
			ps.warn(at+".pin", "the hash is quick to try: "+h.Weak(), "make it anew: ssg-agent operator hash")
		}
	}
	if len(c.Operators) > 0 && c.Display.Kind == "none" {
		ps.warn("operator", `there is no screen for the menu: display.kind = "none"`, "remove the operators, or write the display's kind")
	}
}

// operators are who may open the menu. Those whose hash cannot be read, which
// Validate reports, fit no PIN.
func (c Config) operators() []operator.Operator {
	var out []operator.Operator
	for _, o := range c.Operators {
		h, _ := pin.Parse(o.PIN.Value)
		out = append(out, operator.Operator{ID: o.ID, Name: o.Name, Role: operator.Role(o.Role), PIN: h})
	}
	return out
}
