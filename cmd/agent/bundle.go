package main

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.etcd.io/bbolt"

	"github.com/ssg-safe/agent/ledger"
	"github.com/ssg-safe/agent/pix"
	"github.com/ssg-safe/agent/queue"
	"github.com/ssg-safe/agent/store"
)

const (
	bundleEntries = 2000    // newest ledger entries in a bundle
	bundleFile    = 1 << 20 // the end of each file, in bytes
)

func newBundleCmd(g *globals) *cobra.Command {
	var data, file, out string
	cmd := &cobra.Command{
		Use:   "support-bundle --data DIRECTORY [--config FILE] --out FILE",
		Short: "Pack what support needs to know, without secrets and personal data",
		Long: `Support-bundle packs into one .zip file: the version, what doctor finds, the
configuration with its problems, the newest entries of the ledger, jobs and dead
letters, the state of the store and of a quarantine, logs, and facts about the
machine. What cannot be read is named in errors.txt instead.

Secrets, documents, PIX keys, payable codes, e-mail addresses and telephone
numbers are masked, in whatever file they stand. Look at the bundle before you
send it all the same; it is for people you trust.

Exit codes: 0 done, 1 failed, 2 wrong usage.`,
		Example: `  ssg-agent support-bundle --data /var/lib/ssg-agent --config /etc/ssg-agent/agent.toml --out bundle.zip`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if out == "" {
				return usageError{errors.New("support-bundle: where to? Give --out FILE")}
			}
			if err := needData("support-bundle", data); err != nil {
				return err
			}
			if err := writeBundle(cmd.Context(), data, file, out); err != nil {
				return fmt.Errorf("support-bundle: %w", err)
			}
			_, err := fmt.Fprintln(g.stdout, out)
			return err
		},
	}
	dataFlag(cmd, &data)
	cmd.Flags().StringVarP(&file, "config", "c", "", "the configuration `FILE`")
	cmd.Flags().StringVarP(&out, "out", "o", "", "the new `FILE`")
	return cmd
}

// bundle is a support bundle that is being packed.
type bundle struct {
	zip   *zip.Writer
	clean func([]byte) []byte
	at    time.Time
	lost  []string // what could not be had
}

func writeBundle(ctx context.Context, data, config, out string) (err error) {
	f, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(out)
		}
	}()
	b := &bundle{zip: zip.NewWriter(f), clean: scrubber(Config{}), at: time.Now()}
	err = b.fill(ctx, data, config)
	return errors.Join(err, b.zip.Close(), f.Sync(), f.Close())
}

// fill packs everything. Only an archive that cannot be written is an error.
func (b *bundle) fill(ctx context.Context, data, file string) error {
	var errs []error
	add := func(name string, text []byte, err error) {
		if err != nil {
			b.lost = append(b.lost, name+": "+err.Error())
		}
		if len(text) > 0 {
			errs = append(errs, b.add(name, text))
		}
	}
	if file != "" {
		cfg, problems, err := loadConfig(file, true)
		b.clean = scrubber(cfg)
		add("problems.json", lines(problems), nil)
		if err != nil {
			b.lost = append(b.lost, "config.json: "+err.Error())
		} else {
			text, err := json.MarshalIndent(shown(reflect.ValueOf(cfg)), "", "  ")
			add("config.json", text, err)
			var found bytes.Buffer
			_ = runDoctor(ctx, &globals{stdout: &found, stderr: io.Discard}, doctorOptions{file: file, json: true}) // its failures are in it
			add("doctor.jsonl", found.Bytes(), nil)
		}
	}
	version, err := json.MarshalIndent(readBuildInfo(), "", "  ")
	add("version.json", version, err)
	for name, text := range storeFacts(data, &b.lost) {
		add(name, text, nil)
	}
	logs, err := filepath.Glob(filepath.Join(data, "*.log"))
	add("", nil, err)
	for _, path := range append(logs, storePath(data)+".quarantine") {
		text, err := lastOf(path, bundleFile)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		add("data/"+filepath.Base(path), text, err)
	}
	for _, path := range []string{"/proc/version", "/proc/meminfo", "/proc/mounts", "/proc/uptime", "/proc/loadavg", "/etc/os-release", "/proc/tty/drivers"} {
		text, err := lastOf(path, bundleFile)
		add("system"+path, text, err)
	}
	for name, argv := range map[string][]string{
		"journal.txt":  {"journalctl", "--unit=ssg-agent", "--lines=5000", "--no-pager", "--output=short-iso"},
		"unit.txt":     {"systemctl", "status", "--no-pager", "--lines=0", "ssg-agent"},
		"disk.txt":     {"df", "-h"},
		"files.txt":    {"ls", "-lan", data},
		"devices.txt":  {"ls", "-lR", "/dev/serial", "/dev/ssg", "/dev/usb"},
		"messages.txt": {"dmesg", "--time-format=iso"},
	} {
		limited, cancel := context.WithTimeout(ctx, 10*time.Second)
		text, err := exec.CommandContext(limited, argv[0], argv[1:]...).CombinedOutput()
		cancel()
		add("system/"+name, text[max(0, len(text)-4*bundleFile):], err)
	}
	add("errors.txt", []byte(strings.Join(b.lost, "\n")), nil)
	return errors.Join(append(errs, ctx.Err())...)
}

// add packs one file, masked.
func (b *bundle) add(name string, text []byte) error {
	text = b.clean(text)
	w, err := b.zip.CreateHeader(&zip.FileHeader{Name: "ssg-agent-bundle/" + name, Method: zip.Deflate, Modified: b.at})
	if err == nil {
		_, err = w.Write(text)
	}
	return err
}

// storeFacts reads what the store can tell; what it cannot goes to lost.
func storeFacts(data string, lost *[]string) map[string][]byte {
	files := map[string][]byte{}
	miss := func(err error) {
		if err != nil {
			*lost = append(*lost, "store: "+err.Error())
		}
	}
	s, err := store.OpenReadOnly(storeOptions(storePath(data), nil))
	if err != nil {
		miss(err)
		return files
	}
	defer s.Close()
	miss(s.View(func(tx *bbolt.Tx) error {
		var entries bytes.Buffer
		if from, ok := ledger.Last(tx, bundleEntries); ok {
			miss(ledger.WriteJSONL(&entries, ledger.Entries(tx, from)))
		}
		files["ledger.jsonl"] = entries.Bytes()
		jobs, err := queue.List(tx)
		miss(err)
		dead, err := queue.Dead(tx)
		miss(err)
		files["queue.jsonl"] = append(lines(jobs), lines(dead)...)
		report, err := ledger.Verify(tx, ledger.Head{})
		miss(err)
		facts := struct {
			Ledger   ledger.Report
			Stats    store.Stats
			Warnings []string
		}{report, s.Stats(), store.Warnings(storePath(data))}
		files["store.json"], err = json.MarshalIndent(facts, "", "  ")
		return err
	}))
	return files
}

// lines are values as JSON, one a line.
func lines[T any](values []T) []byte {
	var b bytes.Buffer
	out := json.NewEncoder(&b)
	for _, v := range values {
		_ = out.Encode(v) // plain values into memory
	}
	return b.Bytes()
}

// lastOf reads the end of a file.
func lastOf(path string, most int64) ([]byte, error) {
	text, err := os.ReadFile(path)
	return text[max(0, int64(len(text))-most):], err
}

// shown is a configuration as it may be seen: fields that are personal say so.
func shown(v reflect.Value) any {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		return shown(v.Elem())
	case reflect.Slice:
		list := make([]any, v.Len())
		for i := range list {
			list[i] = shown(v.Index(i))
		}
		return list
	case reflect.Struct:
		if v.NumField() > 0 && v.Type().Field(0).Tag.Get("toml") == "" {
			return fmt.Sprint(v.Interface()) // masks itself
		}
		table := map[string]any{}
		for i := range v.NumField() {
			f := v.Type().Field(i)
			key, _, _ := strings.Cut(f.Tag.Get("toml"), ",")
			if f.Tag.Get("mask") != "" && !v.Field(i).IsZero() {
				table[key] = "[personal]"
			} else if key != "" {
				table[key] = shown(v.Field(i))
			}
		}
		return table
	}
	return fmt.Sprint(v.Interface())
}

var (
	digits  = regexp.MustCompile(`\b[0-9A-Z]{12}[0-9]{2}\b|\b[0-9]{11}\b|\b[0-9]{3}\.[0-9]{3}\.[0-9]{3}-[0-9]{2}\b|\b[0-9A-Z]{2}\.[0-9A-Z]{3}\.[0-9A-Z]{3}/[0-9A-Z]{4}-[0-9]{2}\b`)
	mail    = regexp.MustCompile(`[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+\.[A-Za-z0-9.-]+`)
	phone   = regexp.MustCompile(`\+55[0-9]{10,11}\b`)
	payable = regexp.MustCompile(`000201[ -~]*?6304[0-9A-Fa-f]{4}`)
	bearer  = regexp.MustCompile(`(?i)\b(bearer|basic) +[A-Za-z0-9._~+/=-]{8,}`)
	keyPEM  = regexp.MustCompile(`(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----`)
)

// hidden tells every value of a configuration that must not be seen: those of
// types that mask themselves, and of fields that are marked.
func hidden(v reflect.Value, marked bool, tell func(string)) {
	if v.CanInterface() {
		if r, ok := v.Interface().(interface{ Reveal() string }); ok {
			tell(r.Reveal())
			return
		}
	}
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			hidden(v.Elem(), marked, tell)
		}
	case reflect.Slice:
		for i := range v.Len() {
			hidden(v.Index(i), marked, tell)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			hidden(v.Field(i), v.Type().Field(i).Tag.Get("mask") != "", tell)
		}
	case reflect.String:
		if marked {
			tell(v.String())
		}
	}
}

// scrubber masks, in whatever text, the secrets and personal values of a
// configuration, and what looks like one. The types of package redact keep such
// things out of logs and files; this is for the day on which they did not.
func scrubber(cfg Config) func([]byte) []byte {
	var pairs []string
	hidden(reflect.ValueOf(cfg), false, func(value string) {
		if len(value) >= 6 { // shorter ones would mask half of everything
			pairs = append(pairs, value, "[hidden]")
		}
	})
	known := strings.NewReplacer(pairs...)
	return func(text []byte) []byte {
		text = []byte(known.Replace(string(text)))
		text = keyPEM.ReplaceAll(text, []byte("[secret]"))
		text = bearer.ReplaceAll(text, []byte("$1 [secret]"))
		text = payable.ReplaceAll(text, []byte("[code]"))
		text = mail.ReplaceAll(text, []byte("[personal]"))
		text = phone.ReplaceAll(text, []byte("[personal]"))
		return digits.ReplaceAllFunc(text, func(found []byte) []byte {
			plain := strings.NewReplacer(".", "", "-", "", "/", "").Replace(string(found))
			if pix.ValidCPF(plain) || pix.ValidCNPJ(plain) {
				return []byte("[document]")
			}
			return found
		})
	}
}
