package main

import (
	"context"
	"errors"
	"os"

	"github.com/spf13/cobra"

	"github.com/ssg-safe/agent/device"
	"github.com/ssg-safe/agent/display"
)

func newRunCmd(g *globals) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "run --config FILE",
		Short: "Run the terminal",
		Long: `Runs the terminal with a configuration: screen, providers, printer, store. It
starts without network, printer or usable screen and takes them when they come.
It ends on SIGTERM or SIGINT, after finishing what is under way, and when the
outcome of a commit is unknown; the next start takes up what was left open.

Exit codes: 0 stopped in order, 1 failed, 2 wrong usage or configuration.`,
		Example: `  ssg-agent run --config configs/simulator.toml`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				return usageError{errors.New("--config is missing; try: ssg-agent run --config configs/simulator.toml")}
			}
			return runAgent(cmd.Context(), g, file)
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", "", "configuration file (required)")
	return cmd
}

func runAgent(ctx context.Context, g *globals, file string) error {
	cfg, problems, err := loadConfig(file, false)
	if err != nil {
		return usageError{err}
	}
	log, closeLog, err := openLog(g, cfg)
	if err != nil {
		return err
	}
	defer closeLog()
	for _, p := range problems {
		log.Warn("configuration", "at", p.Path, "problem", p.Message, "remedy", p.Remedy)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	w := &wiring{cfg: cfg, log: log, clock: device.NewClock(buildTime()), limits: policies{}, screen: display.Options{
		Tty: cfg.Display.TTY, Locale: cfg.Terminal.Locale, Title: title(cfg), Now: merchantClock(cfg),
	}}
	if w.routes, err = w.limits.open(cfg, nil, w.clock.Wall, log); err != nil {
		return usageError{err}
	}
	if w.printer, err = openPrinter(cfg.Printer, log); err != nil {
		return usageError{err}
	}
	if os.Getenv("INVOCATION_ID") == "" { // not a systemd unit: somebody's shell
		w.interrupt = stop
	}
	return w.run(ctx)
}

// noArgs is cobra.NoArgs as wrong usage.
func noArgs(cmd *cobra.Command, args []string) error {
	if err := cobra.NoArgs(cmd, args); err != nil {
		return usageError{err}
	}
	return nil
}
