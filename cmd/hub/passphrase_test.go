package main

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
)

// TestPassphraseFiles: a key under a passphrase signs with that alone, from a file
// where nobody types.
func TestPassphraseFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	right, wrong := write("right", "quatro palavras bem distintas\n", 0o600), write("wrong", "outras palavras quaisquer\n", 0o600)
	key := filepath.Join(dir, "ana.pem")
	refused(t, "can be read by others", "operator", "key", key, "--name", "ana", "--passphrase-file", write("open", "quatro palavras\n", 0o644))
	refused(t, "does not hold one line", "operator", "key", key, "--name", "ana", "--passphrase-file", write("two", "quatro\npalavras bem\n", 0o600))
	refused(t, "at least 12 characters", "operator", "key", key, "--name", "ana", "--passphrase-file", write("short", "curta\n", 0o600))
	refused(t, "no such file", "operator", "key", key, "--name", "ana", "--passphrase-file", filepath.Join(dir, "none"))
	if _, err := os.Stat(key); err == nil {
		t.Fatal("a key was made")
	}
	code, stdout, stderr := hubMain(t, "operator", "key", key, "--name", "ana", "--passphrase-file", right, "--json")
	if code != 0 || stderr != "" || !strings.Contains(stdout, `"passphrase":true`) {
		t.Fatalf("exit code %d, %s%s", code, stdout, stderr)
	}
	sign := func(passphrase string) (int, string) {
		code, stdout, stderr := hubMain(t, "payout", "reject", "HUB001JDQXM3T5001ZK3V9Q7A", "--reason", "twice", "--by", "ana", "--key", key, "--passphrase-file", passphrase, "--print")
		return code, stdout + stderr
	}
	if code, out := sign(right); code != 0 || !strings.HasPrefix(out, "eyJ") {
		t.Errorf("exit code %d, %s", code, out)
	}
	if code, out := sign(wrong); code != 1 || !strings.Contains(out, "not the passphrase of this key") {
		t.Errorf("exit code %d, %s", code, out)
	}
	refused(t, "not the passphrase", "operator", "passphrase", key, "--passphrase-file", wrong, "--new-passphrase-file", right)
	refused(t, "at least 12", "operator", "passphrase", key, "--passphrase-file", right, "--new-passphrase-file", filepath.Join(dir, "short"))
	if code, _, stderr := hubMain(t, "operator", "passphrase", key, "--passphrase-file", right, "--new-passphrase-file", wrong); code != 0 {
		t.Fatal(stderr)
	}
	if code, out := sign(wrong); code != 0 {
		t.Errorf("by the new passphrase: exit code %d, %s", code, out)
	}
	if code, _ := sign(right); code == 0 {
		t.Error("the old passphrase is taken")
	}

	// A bare key, which is said, is put under one.
	bare := filepath.Join(dir, "bia.pem")
	if _, _, stderr := hubMain(t, "operator", "key", bare, "--name", "bia"); !strings.Contains(stderr, "has no passphrase") {
		t.Errorf("it does not say so: %q", stderr)
	}
	if code, _, stderr := hubMain(t, "operator", "passphrase", bare, "--new-passphrase-file", right); code != 0 {
		t.Fatal(stderr)
	}
	if code, _, stderr := hubMain(t, "payout", "reject", "HUB001JDQXM3T5001ZK3V9Q7A", "--reason", "twice", "--by", "bia", "--key", bare, "--passphrase-file", right, "--print"); code != 0 {
		t.Error(stderr)
	}
}

// TestPassphraseIsNotShown: a person types it at a terminal, and it does not appear
// there; the command's input may be anything.
func TestPassphraseIsNotShown(t *testing.T) {
	_, bin := programs(t)
	key := filepath.Join(t.TempDir(), "ana.pem")
	const secret = "quatro palavras bem distintas"
	// talk answers what the command asks for.
	talk := func(stdin io.Reader, args ...string) (shown string, err error) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), bin, args...)
		master, slave, err := pty.Open()
		if err != nil {
			t.Fatal(err)
		}
		defer master.Close()
		cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, slave, slave
		if stdin == nil {
			cmd.Stdin = slave
		}
		cmd.SysProcAttr = &unixAttr
		cmd.ExtraFiles = []*os.File{slave} // descriptor 3: the controlling terminal
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		_ = slave.Close()
		_ = master.SetReadDeadline(time.Now().Add(time.Minute))
		var all bytes.Buffer
		buffer, asked := make([]byte, 4096), 0
		for {
			n, err := master.Read(buffer)
			all.Write(buffer[:n])
			if questions := strings.Count(strings.ToLower(all.String()), "passphrase of") + strings.Count(all.String(), "New passphrase,") + strings.Count(all.String(), "Again:"); questions > asked {
				asked = questions
				if _, err := io.WriteString(master, secret+"\n"); err != nil {
					t.Fatal(err)
				}
			}
			if err != nil {
				break // the command has ended
			}
		}
		return all.String(), cmd.Wait()
	}
	out, err := talk(nil, "operator", "key", key, "--name", "ana")
	if err != nil || !strings.Contains(out, "Again:") || !strings.Contains(out, "[[operator]]") {
		t.Fatalf("%v: %s", err, out)
	}
	signed, err := talk(strings.NewReader("12345678909\n"), "payout", "propose", "--provider", "conta", "--amount", "1.00", "--pix-key", "-", "--by", "ana", "--key", key, "--print")
	if err != nil || !strings.Contains(signed, "eyJ") {
		t.Errorf("%v: %s", err, signed)
	}
	if strings.Contains(out+signed, secret) {
		t.Errorf("the passphrase is shown: %s%s", out, signed)
	}
	if raw, err := os.ReadFile(key); err != nil || !strings.Contains(string(raw), "PROTECTED") {
		t.Errorf("the key is bare (%v)", err)
	}
}

// unixAttr gives a process descriptor 3 for its terminal.
var unixAttr = syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 3}
