package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/creack/pty"
	"github.com/google/go-cmp/cmp"
)

// Published codes.
const (
	cnpjCode  = "00020126360014br.gov.bcb.pix011412ABC34501DE355204000053039865406100.505802BR5916COFRE TESTE LTDA6009SAO PAULO62290525K01N0000000000000000000A163042C62"
	evpCode   = "00020126580014br.gov.bcb.pix0136123e4567-e12b-12d1-a456-4266554400005204000053039865802BR5913Fulano de Tal6008BRASILIA62070503***63041D3D"
	phoneCode = "00020126360014br.gov.bcb.pix0114+556191234567852040000530398654040.015802BR5906FULANO6008BRASILIA62070503***6304B1A7"
	saqueCode = "00020126950014br.gov.bcb.pix01364004901d-bd85-4769-8e52-cb4c42c506dc0221Jornada pagador 431070308999990085204000053039865406577.575802BR5903Pix6008BRASILIA6229052599ed983ea570413d8d336301d630418B7"
	commaCode = "00020126330014br.gov.bcb.pix011112345678909520400005303986540510,005802BR5906FULANO6008BRASILIA62070503***6304CC1D"
	dotCode   = "00020126490014BR.GOV.BCB.PIX0111111111111110212Vacina covid520400005303986540310.5802BR5904CARL6010SAN.FIERRO62100506b4b4c463049878"
)

// command is one run of the command line and what it must answer.
type command struct {
	args  []string
	stdin string
	code  int
	// stdout is all of it; parts stand anywhere in the stream they name. A
	// part that starts with ! must not stand there.
	stdout           string
	inStdout, inErrs []string
}

// runCommand runs the command line in this process.
func runCommand(args []string, stdin string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(context.Background(), &globals{stdin: strings.NewReader(stdin), stdout: &out, stderr: &errs}, args)
	return code, out.String(), errs.String()
}

func (c command) check(t *testing.T) {
	t.Helper()
	code, stdout, stderr := runCommand(c.args, c.stdin)
	name := strings.Join(c.args, " ")
	if code != c.code {
		t.Errorf("%s: exit code %d, want %d\nstderr: %s", name, code, c.code, stderr)
	}
	if len(c.inStdout) == 0 {
		if diff := cmp.Diff(stdout, c.stdout); diff != "" {
			t.Errorf("%s: stdout (got -, want +):\n%s", name, diff)
		}
	}
	holds := func(stream, text string, parts []string) {
		for _, part := range parts {
			if rest, not := strings.CutPrefix(part, "!"); not == strings.Contains(text, rest) {
				t.Errorf("%s: %s: %q, want %q", name, stream, text, part)
			}
		}
	}
	holds("stdout", stdout, c.inStdout)
	holds("stderr", stderr, c.inErrs)
	if len(c.inErrs) == 0 && stderr != "" {
		t.Errorf("%s: stderr: %q, want nothing", name, stderr)
	}
}

func TestPixEncode(t *testing.T) {
	encode := func(args ...string) []string { return append([]string{"pix", "encode"}, args...) }
	cofre := []string{"--key", "12ABC34501DE35", "--txid", "K01N0000000000000000000A1"}
	loja := []string{"--key", "12345678909", "--name", "LOJA", "--city", "RECIFE"}
	for _, c := range []command{
		{
			args:   encode(append(cofre, "--amount", "100.50", "--name", "COFRE TESTE LTDA", "--city", "SAO PAULO")...),
			stdout: cnpjCode + "\n", inErrs: []string{"key type: cnpj\n", "!accents"},
		},
		{
			args:   encode(append(cofre, "--amount", "100,50", "--name", "CÔFRE TESTE LTDÀ", "--city", "SÃO PAULO")...),
			stdout: cnpjCode + "\n",
			inErrs: []string{"key type: cnpj\nname without accents: COFRE TESTE LTDA\ncity without accents: SAO PAULO\n"},
		},
		{args: encode(append(loja, "--amount", "R$ 1.234,56")...), inStdout: []string{"54071234.565802BR"}, inErrs: []string{"key type: cpf\n"}},
		{
			args:   encode("--key", "123e4567-e12b-12d1-a456-426655440000", "--name", "Fulano de Tal", "--city", "BRASILIA"),
			stdout: evpCode + "\n", inErrs: []string{"key type: evp\n"},
		},
		{
			args:   encode("--key", "+5561912345678", "--name", "FULANO", "--city", "BRASILIA", "--amount", "0.01"),
			stdout: phoneCode + "\n", inErrs: []string{"key type: phone\n"},
		},
		{
			args: encode("--key", "4004901d-bd85-4769-8e52-cb4c42c506dc", "--name", "Pix", "--city", "BRASILIA", "--amount", "577.57",
				"--txid", "99ed983ea570413d8d336301d", "--description", "Jornada pagador 43107", "--facilitator", "99999008"),
			stdout: saqueCode + "\n", inErrs: []string{"key type: evp\n"},
		},
		// Refused: every tag and character at once, no code.
		{
			args: encode("--key", "11987654321", "--name", "BANCOCENTRALDOBRASIL000381", "--city", "Ж", "--txid", "pedido-7", "--amount", "10000000000"),
			code: 1,
			inErrs: []string{`ssg-agent: pix encode: this code cannot be written:
tag 26-01 (key): found 11 digits whose check digits are wrong, expected a CPF (a phone starts with +55)
tag 59 (name): found 26 characters: "BANCOCENTRALDOBRASIL000381", expected 1 to 25 characters
tag 60 (city): found "Ж" (U+0416) at character 1, expected letters with or without accents, digits and ASCII signs
tag 54 (amount): found "10000000000.00", expected 0.01 to 9999999999.99, or none
tag 62-05 (txid): found "-" at character 7 of "pedido-7", expected 1 to 25 of A-Z, a-z and 0-9, or "***" for none
`},
		},
		{
			args: encode("--key", "123.456.789-09", "--name", "LOJA", "--city", "RECIFE"), code: 1,
			inErrs: []string{`found "." at character 4, expected a CPF or CNPJ without punctuation`, "!123.456"},
		},
		{args: encode(append(loja, "--amount=-1.00")...), code: 1, inErrs: []string{`tag 54 (amount): found "-1.00"`}},
		// Wrong usage.
		{args: encode(), code: 2, inErrs: []string{"pix encode: missing --key, --name, --city\nSee 'ssg-agent pix encode --help'"}},
		{args: encode("--key", "12345678909", "--city", "X"), code: 2, inErrs: []string{"missing --name\n"}},
		{args: encode(append(loja, "--amount", "0.00")...), code: 2, inErrs: []string{"leave it out where the payer types the amount"}},
		{args: encode(append(loja, "--amount", "1,2")...), code: 2, inErrs: []string{`--amount: parse amount "1,2": not an amount: want two digits after the comma`}},
		{args: encode(append(loja, "--amount", "1.234")...), code: 2, inErrs: []string{"finer than a centavo"}},
		{args: encode(append(loja, "--amount", "")...), code: 2, inErrs: []string{"not an amount"}},
		{args: encode(append(loja, "PAULO")...), code: 2, inErrs: []string{"PAULO"}},
		{args: encode("--kee", "x"), code: 2, inErrs: []string{"unknown flag: --kee"}},
		{args: []string{"pix"}, code: 2, inErrs: []string{"which of its commands"}},
		{args: []string{"pix", "encrypt"}, code: 2, inErrs: []string{`unknown command "encrypt"`}},
		{args: encode("--help"), inStdout: []string{"Exit codes: 0 done, 1 refused"}},
	} {
		c.check(t)
	}
}

func TestPixDecode(t *testing.T) {
	const saqueJSON = `{"type":"static_saque","key":"4004901d-bd85-4769-8e52-cb4c42c506dc","keyType":"evp","amount":"577.57",` +
		`"name":"Pix","merchant":"Pix","city":"BRASILIA","txid":"99ed983ea570413d8d336301d","description":"Jornada pagador 43107",` +
		`"fss":"99999008","mcc":"0000","warnings":[],"fields":[{"tag":"00","value":"01"},` +
		`{"tag":"26","value":"0014br.gov.bcb.pix01364004901d-bd85-4769-8e52-cb4c42c506dc0221Jornada pagador 43107030899999008",` +
		`"fields":[{"tag":"26-00","value":"br.gov.bcb.pix"},{"tag":"26-01","value":"4004901d-bd85-4769-8e52-cb4c42c506dc"},` +
		`{"tag":"26-02","value":"Jornada pagador 43107"},{"tag":"26-03","value":"99999008"}]},` +
		`{"tag":"52","value":"0000"},{"tag":"53","value":"986"},{"tag":"54","value":"577.57"},{"tag":"58","value":"BR"},` +
		`{"tag":"59","value":"Pix"},{"tag":"60","value":"BRASILIA"},{"tag":"62","value":"052599ed983ea570413d8d336301d",` +
		`"fields":[{"tag":"62-05","value":"99ed983ea570413d8d336301d"}]},{"tag":"63","value":"18B7"}]}` + "\n"
	decode := func(args ...string) []string { return append([]string{"pix", "decode"}, args...) }
	for _, c := range []command{
		{args: decode(saqueCode), stdout: `type            static_saque
key             4004901d-bd85-4769-8e52-cb4c42c506dc
key type        evp
amount          577.57
name            Pix
city            BRASILIA
txid            99ed983ea570413d8d336301d
description     Jornada pagador 43107
facilitator     99999008
category        0000
`},
		{args: decode("--json", saqueCode), stdout: saqueJSON},
		{args: decode("-", "--json"), stdin: "\n  " + saqueCode + " \r\n", stdout: saqueJSON},
		{args: decode("--json"), stdin: saqueCode, stdout: saqueJSON},
		// Readable, but not to be emitted.
		{
			args: decode(dotCode), inStdout: []string{"amount          10.\n", "key type        not valid\n"},
			inErrs: []string{
				"warning: tag 26-01 (key): found 11 digits whose check digits are wrong, expected a CPF (a phone starts with +55)\n",
				"warning: tag 54 (amount): found \"10.\", expected digits with a dot and two decimals\n",
			},
		},
		{args: decode("--json", dotCode), inStdout: []string{
			`"keyType":null,`,
			`{"tag":"54","rule":"amount_format","found":"\"10.\"","want":"digits with a dot and two decimals"}]`,
			"!errors",
		}},
		// What would drive the terminal is quoted.
		{
			args:     decode("00020126330014br.gov.bcb.pix0111123456789095204000053039865802BR5903A\x1bB6008BRASILIA62070503***630427BE"),
			inStdout: []string{`name            "A\x1bB"`, "!\x1b"}, inErrs: []string{`found "\x1b" (U+001B) at character 2`},
		},
		// Not readable.
		{
			args: decode(evpCode[:len(evpCode)-1] + "E"), code: 1,
			inErrs: []string{"ssg-agent: pix decode: this code cannot be read:\ntag 63 (CRC): found \"1D3E\", expected \"1D3D\""},
		},
		{
			args: decode("--json", commaCode), code: 1,
			inStdout: []string{`{"errors":[{"tag":"54","rule":"bad_54","found":"\"10,00\"","want":"digits with a dot and two decimals"}],"warnings":[],"fields":[`},
			inErrs:   []string{`tag 54 (amount): found "10,00", expected digits with a dot and two decimals`},
		},
		{args: decode("https://example.com/pix"), code: 1, inErrs: []string{`code: found "http" at its beginning, expected "0002"`}},
		{args: decode(""), code: 1, inErrs: []string{"code: found nothing, expected a BR Code"}},
		{args: decode("-"), code: 1, inErrs: []string{"code: found nothing, expected a BR Code"}},
		{args: decode(), stdin: strings.Repeat("0", 1<<20), code: 1, inErrs: []string{"code: found 65536 characters, expected at most 512"}},
		// Wrong usage.
		{args: decode("0002", "SAO", "PAULO"), code: 2, inErrs: []string{"3 arguments, want one code\nQuote the code"}},
		{args: decode("--jsn", "x"), code: 2, inErrs: []string{"unknown flag: --jsn"}},
	} {
		c.check(t)
	}
}

// The line of every published code says what the vectors say.
func TestPixDecodeVectors(t *testing.T) {
	data, err := os.ReadFile("../../pix/testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Vectors []struct {
			ID, Payload string
			Expect      struct {
				Lenient string
				Fields  map[string]any
			}
		}
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Vectors) != 34 {
		t.Fatalf("%d vectors, want 34", len(file.Vectors))
	}
	for _, v := range file.Vectors {
		code, stdout, stderr := runCommand([]string{"pix", "decode", "--json", "-"}, v.Payload)
		if (code == 0) != (v.Expect.Lenient == "ok") || (code != 0) != strings.Contains(stderr, "cannot be read") {
			t.Errorf("%s: exit code %d, want %s; stderr %q", v.ID, code, v.Expect.Lenient, stderr)
		}
		var got map[string]any
		if err := json.Unmarshal([]byte(stdout), &got); err != nil || strings.Count(stdout, "\n") != 1 {
			t.Errorf("%s: %q: %v", v.ID, stdout, err)
			continue
		}
		if v.Expect.Lenient != "ok" {
			if got["errors"] == nil || got["type"] != nil {
				t.Errorf("%s: %s", v.ID, stdout)
			}
			continue
		}
		if got["name"] != got["merchant"] {
			t.Errorf("%s: name %v, merchant %v", v.ID, got["name"], got["merchant"])
		}
		for _, ours := range []string{"name", "mcc", "warnings", "fields"} {
			delete(got, ours)
		}
		if diff := cmp.Diff(got, v.Expect.Fields); diff != "" {
			t.Errorf("%s: got -, want +:\n%s", v.ID, diff)
		}
	}
}

func TestQR(t *testing.T) {
	zbarimg, err := exec.LookPath("zbarimg")
	if err != nil {
		t.Fatalf("this test reads QR codes with zbarimg: install the Debian package zbar-tools (%v)", err)
	}
	dir := t.TempDir()
	scan := func(file, want string) {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), zbarimg, "-q", "--raw", "--nodbus", file).CombinedOutput()
		if err != nil || string(out) != want+"\n" {
			t.Errorf("%s: zbarimg read %q, %v, want %q", file, out, err, want)
		}
	}

	picture := filepath.Join(dir, "code.png")
	command{args: []string{"qr", cnpjCode, "--png", picture}}.check(t)
	scan(picture, cnpjCode)

	code, out, stderr := runCommand([]string{"qr", "-", "--png", "-", "--level", "h"}, cnpjCode+"\n")
	if code != 0 || stderr != "" {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	high := filepath.Join(dir, "high.png")
	if err := os.WriteFile(high, []byte(out), 0o600); err != nil {
		t.Fatal(err)
	}
	scan(high, cnpjCode)

	hello := filepath.Join(dir, "hello.png")
	command{args: []string{"qr", "hello", "--png", hello}, inErrs: []string{"warning: no readable BR Code, payers cannot use it:\ncode: found \"hell\""}}.check(t)
	scan(hello, "hello")

	_, text, _ := runCommand([]string{"qr", cnpjCode}, "")
	command{args: []string{"qr", cnpjCode, "--text"}, stdout: text}.check(t)
	if line, _, _ := strings.Cut(text, "\n"); line != strings.Repeat("█", 41+8) || strings.Count(text, "\n") != 25 || strings.Contains(text, "\x1b") {
		t.Errorf("half blocks of level M:\n%s", text)
	}
	_, low, _ := runCommand([]string{"qr", cnpjCode, "--level", "L"}, "")
	if line, _, _ := strings.Cut(low, "\n"); line != strings.Repeat("█", 37+8) {
		t.Errorf("half blocks of level L:\n%s", low)
	}

	unwanted := filepath.Join(dir, "unwanted.png")
	for _, c := range []command{
		{args: []string{"qr", ""}, code: 1, inErrs: []string{"qr: make QR symbol: empty text"}},
		{args: []string{"qr", strings.Repeat("x", 3000), "--png", unwanted}, code: 1, inErrs: []string{"content too long"}},
		{args: []string{"qr", cnpjCode, "--png", filepath.Join(dir, "no", "such.png")}, code: 1, inErrs: []string{"qr: write picture: open "}},
		{args: []string{"qr"}, code: 2, inErrs: []string{"qr: want a code, or - for standard input"}},
		{args: []string{"qr", "0002", "SAO", "PAULO"}, code: 2, inErrs: []string{"Quote the code"}},
		{args: []string{"qr", "x", "--level", "Z"}, code: 2, inErrs: []string{`qr: --level: level "Z": want L, M, Q or H`}},
		{args: []string{"qr", "x", "--text", "--png", unwanted}, code: 2, inErrs: []string{"want one of them"}},
		{args: []string{"qr", "x", "--png", ""}, code: 2, inErrs: []string{"want the name of a file"}},
	} {
		c.check(t)
	}
	if _, err := os.Stat(unwanted); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a picture was written: %v", err)
	}
}

// On a terminal the colours are set, and what would wrap is refused.
func TestQROnTerminal(t *testing.T) {
	for _, tt := range []struct {
		columns uint16
		want    string
	}{
		{49, ""},
		{48, "ssg-agent: qr: the symbol needs 49 columns and the terminal has 48: use --level L or --png\n"},
	} {
		master, terminal, err := pty.Open()
		if err != nil {
			t.Fatal(err)
		}
		if err := pty.Setsize(terminal, &pty.Winsize{Rows: 25, Cols: tt.columns}); err != nil {
			t.Fatal(err)
		}
		shown := make(chan string)
		go func() {
			var b bytes.Buffer
			_, _ = b.ReadFrom(master) // ends with EIO once the other side is closed
			shown <- b.String()
		}()
		var stderr bytes.Buffer
		code := run(t.Context(), &globals{stdin: strings.NewReader(""), stdout: terminal, stderr: &stderr}, []string{"qr", cnpjCode})
		if err := terminal.Close(); err != nil {
			t.Fatal(err)
		}
		got := <-shown
		if err := master.Close(); err != nil {
			t.Fatal(err)
		}
		if tt.want != "" {
			if code != 1 || stderr.String() != tt.want || got != "" {
				t.Errorf("%d columns: exit code %d, %q, shown %q", tt.columns, code, stderr.String(), got)
			}
			continue
		}
		_, plain, _ := runCommand([]string{"qr", cnpjCode}, "")
		var want strings.Builder
		for line := range strings.Lines(plain) {
			fmt.Fprintf(&want, "\x1b[38;5;231;48;5;16m%s\x1b[0m\r\n", strings.TrimSuffix(line, "\n"))
		}
		if code != 0 || got != want.String() {
			t.Errorf("%d columns: exit code %d, %s, shown %q, want %q", tt.columns, code, stderr.String(), got, want.String())
		}
	}
}
