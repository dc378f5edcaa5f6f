package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ssg-safe/agent/device"
)

func newDoctorCmd(g *globals) *cobra.Command {
	var o doctorOptions
	cmd := &cobra.Command{
		Use:   "doctor --config FILE",
		Short: "Examine clock, disk, store, ports, printer, screen, providers and brokers",
		Long: `Doctor examines everything that a terminal needs and says of each part whether
it is ok, and if not what to do about it, in the language of the configuration.
It changes nothing and makes no charge. A part that the running agent holds
(store, serial port) is left to it; stop the agent to have it examined.

Secrets that systemd gives to the unit are read when the folder of their files
is named: CREDENTIALS_DIRECTORY=/etc/ssg-agent/secrets ssg-agent doctor …

--print-test prints a slip with the letters, the width and a code that show
whether the printer's profile is right.

With --json each check is one line {"event":"check","check","status","code",
"message","remedy"}, and the last one {"event":"summary","ok","warn","fail"}.
The codes are stable.

Exit codes: 0 nothing failed (there may be warnings), 1 something failed,
2 wrong usage or configuration.`,
		Example: `  ssg-agent doctor --config /etc/ssg-agent/agent.toml
  ssg-agent doctor --config /etc/ssg-agent/agent.toml --print-test`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.file == "" {
				return usageError{errors.New("doctor: of which terminal? Give --config FILE")}
			}
			return runDoctor(cmd.Context(), g, o)
		},
	}
	cmd.Flags().StringVarP(&o.file, "config", "c", "", "the configuration `FILE`")
	cmd.Flags().BoolVar(&o.printTest, "print-test", false, "print a test slip")
	cmd.Flags().BoolVar(&o.json, "json", false, "one JSON object a line")
	_ = cmd.MarkFlagFilename("config", "toml") // fails for unknown flags only
	return cmd
}

type doctorOptions struct {
	file            string
	printTest, json bool
}

// status of a check.
type checkStatus string

const (
	checkOK   checkStatus = "ok"
	checkWarn checkStatus = "warn"
	checkFail checkStatus = "fail"
)

// finding is what a check found. Its code names its words in doctorTexts.
type finding struct {
	Event   string      `json:"event"` // check
	Check   string      `json:"check"`
	Status  checkStatus `json:"status"`
	Code    string      `json:"code"`
	Message string      `json:"message"`
	Remedy  string      `json:"remedy,omitempty"`
}

// doctor is one examination.
type doctor struct {
	cfg       Config
	clock     *device.Clock
	printTest bool
	texts     map[string]advice
	log       *slog.Logger
	report    func(finding)
	// agentRuns: a running agent holds the store.
	agentRuns bool
	// portMissing: the printer's device is not there.
	portMissing bool
}

func runDoctor(ctx context.Context, g *globals, o doctorOptions) error {
	cfg, found, err := loadConfig(o.file, true)
	if err != nil {
		return usageError{err}
	}
	counts := map[checkStatus]int{}
	var failed error
	d := &doctor{
		cfg: cfg, clock: device.NewClock(buildTime()), printTest: o.printTest, texts: doctorTexts(cfg.Terminal.Locale),
		log: slog.New(slog.DiscardHandler),
		report: func(f finding) {
			counts[f.Status]++
			failed = errors.Join(failed, writeFinding(g.stdout, f, o.json))
		},
	}
	if n := len(found); n > 0 {
		d.add("config", checkWarn, "config_warnings", n, o.file)
	} else {
		d.add("config", checkOK, "config_ok", o.file)
	}
	for _, check := range []func(context.Context){
		d.checkStore, d.checkClock, d.checkDisk, d.checkPorts, d.checkPrinter, d.checkDisplay, d.checkMenu, d.checkNetwork, d.checkProviders,
		d.checkBrokers, d.checkFacade,
	} {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		check(ctx)
	}
	if o.json {
		failed = errors.Join(failed, json.NewEncoder(g.stdout).Encode(struct {
			Event string `json:"event"`
			OK    int    `json:"ok"`
			Warn  int    `json:"warn"`
			Fail  int    `json:"fail"`
		}{"summary", counts[checkOK], counts[checkWarn], counts[checkFail]}))
	}
	if n := counts[checkFail]; n > 0 {
		failed = errors.Join(failed, fmt.Errorf("doctor: %d of %d checks failed", n, n+counts[checkOK]+counts[checkWarn]))
	}
	return failed
}

func writeFinding(w io.Writer, f finding, asJSON bool) error {
	if asJSON {
		out := json.NewEncoder(w)
		out.SetEscapeHTML(false)
		return out.Encode(f)
	}
	_, err := fmt.Fprintf(w, "%-4s  %-9s  %s\n", f.Status, f.Check, f.Message)
	if err == nil && f.Remedy != "" {
		_, err = fmt.Fprintf(w, "%17s  → %s\n", "", f.Remedy)
	}
	return err
}

// add reports a finding; its arguments go into the words of its code.
func (d *doctor) add(check string, status checkStatus, code string, args ...any) {
	words, ok := d.texts[code]
	if !ok {
		panic("doctor: no words for " + code)
	}
	d.report(finding{
		Event: "check", Check: check, Status: status, Code: code,
		Message: fmt.Sprintf(words.what, args...), Remedy: words.remedy,
	})
}

// limited runs a check of something that may not answer.
func limited(ctx context.Context, limit time.Duration, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return f(ctx)
}

// reason is an error in one line.
func reason(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
