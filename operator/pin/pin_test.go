package pin

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"strings"
	"testing"

	"github.com/ssg-safe/agent/redact"
)

// foreign was made by Debian's argon2 of 407193 with the salt "saltsaltsaltsalt":
// printf %s 407193 | argon2 saltsaltsaltsalt -id -t 3 -k 12288 -p 1 -l 32 -e
const foreign = "$argon2id$v=19$m=12288,t=3,p=1$c2FsdHNhbHRzYWx0c2FsdA$uet19jfoemc+4zcuzYy1sFwfZnYXqyzyG6klLVwPjLc"

func TestVerify(t *testing.T) {
	h, err := New("407193")
	if err != nil {
		t.Fatal(err)
	}
	again, err := New("407193")
	if err != nil {
		t.Fatal(err)
	}
	if h.Equal(again) {
		t.Error("two hashes of one PIN are alike: the salt is not random")
	}
	parsed, err := Parse(h.PHC())
	if err != nil || !parsed.Equal(h) {
		t.Fatalf("parsed %v, %v", parsed, err)
	}
	for pin, want := range map[redact.Secret]bool{"407193": true, "407194": false, "": false, "4071930": false, "0407193": false} {
		if got := parsed.Verify(pin); got != want {
			t.Errorf("a PIN of %d digits: got %v, want %v", len(pin), got, want)
		}
	}
	if (Hash{}).Verify("") || Decoy().Verify("407193") {
		t.Error("a hash of nothing fits")
	}
	if why := h.Weak(); why != "" {
		t.Errorf("what New makes is weak: %s", why)
	}
}

// TestForeign: what the reference implementation makes is understood.
func TestForeign(t *testing.T) {
	h, err := Parse(foreign)
	if err != nil {
		t.Fatal(err)
	}
	if !h.Verify("407193") || h.Verify("407192") {
		t.Error("the reference implementation's hash is read otherwise")
	}
	if got := h.PHC().Reveal(); got != foreign {
		t.Errorf("written back: %s", got)
	}
}

func TestParseRefuses(t *testing.T) {
	const salt, key = "c2FsdHNhbHRzYWx0c2FsdA", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	for text, want := range map[string]string{
		"":                              "it is not $argon2id",
		"407193":                        "it is not $argon2id",
		"$2b$12$abcdefghijklmnopqrstuv": "it is not $argon2id",
		"$argon2i$v=19$m=12288,t=3,p=1$" + salt + "$" + key:                       "another kind",
		"$argon2id$v=16$m=12288,t=3,p=1$" + salt + "$" + key:                      "version",
		"$argon2id$v=19$m=12288,t=3$" + salt + "$" + key:                          "m, t and p",
		"$argon2id$v=19$t=3,m=12288,p=1$" + salt + "$" + key:                      "m, t and p",
		"$argon2id$v=19$m=012288,t=3,p=1$" + salt + "$" + key:                     "m, t and p",
		"$argon2id$v=19$m=12288,t=+3,p=1$" + salt + "$" + key:                     "m, t and p",
		"$argon2id$v=19$m=12288,t=0,p=1$" + salt + "$" + key:                      "t is not between",
		"$argon2id$v=19$m=4194304,t=3,p=1$" + salt + "$" + key:                    "m is not between",
		"$argon2id$v=19$m=65536,t=5,p=1$" + salt + "$" + key:                      "busy for minutes",
		"$argon2id$v=19$m=16,t=3,p=4$" + salt + "$" + key:                         "8 for each of p",
		"$argon2id$v=19$m=12288,t=3,p=16$" + salt + "$" + key:                     "p is not between",
		"$argon2id$v=19$m=99999999999999999999,t=3,p=1$" + salt + "$" + key:       "m, t and p",
		"$argon2id$v=19$m=12288,t=3,p=1$c2FsdA$" + key:                            "salt has not",
		"$argon2id$v=19$m=12288,t=3,p=1$" + salt + "==$" + key:                    "salt is not base64",
		"$argon2id$v=19$m=12288,t=3,p=1$" + salt + "$" + key[:42] + "B":           "key is not base64",
		"$argon2id$v=19$m=12288,t=3,p=1$" + salt + "$" + key + "$":                "it is not $argon2id",
		"$argon2id$v=19$m=12288,t=3,p=1$" + salt + "$" + strings.Repeat("A", 600): "longer than",
	} {
		_, err := Parse(redact.Secret(text))
		if !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
		if err != nil && strings.Contains(err.Error(), salt) {
			t.Errorf("the error repeats the hash: %v", err)
		}
	}
}

func TestWeakParameters(t *testing.T) {
	for _, tc := range []struct {
		cost string
		weak bool
	}{{"m=12288,t=3", false}, {"m=7168,t=5", false}, {"m=19456,t=2", false}, {"m=7168,t=4", true}, {"m=4096,t=40", true}, {"m=8,t=1", true}, {"m=19456,t=1", true}} {
		h, err := Parse(redact.Secret("$argon2id$v=19$" + tc.cost + ",p=1$c2FsdHNhbHRzYWx0c2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"))
		if err != nil {
			t.Fatal(err)
		}
		if got := h.Weak() != ""; got != tc.weak {
			t.Errorf("%s: got weak %v, want %v", tc.cost, got, tc.weak)
		}
	}
}

func TestCheck(t *testing.T) {
	for _, p := range []redact.Secret{"407193", "8051472", "190746528813", "331702", "905200"} {
		if err := Check(p); err != nil {
			t.Errorf("%s is refused: %v", p.Reveal(), err)
		}
	}
	for p, want := range map[redact.Secret]string{
		"": "there is no PIN", "1234": "4 digits", "40719": "5 digits", "4071934071935": "13 digits",
		"40719a": "other characters", "４０７１９３": "other characters", "407 193": "other characters",
		"111111": "repeats", "121212": "repeats", "123123": "repeats",
		"123456": "counts", "345678": "counts", "890123": "counts", "654321": "counts", "246802": "counts", "987654321098": "counts",
		"112122": "two different", "112233": "doubles", "998877": "doubles",
		"250386": "a date", "860325": "a date", "25031986": "a date", "19860325": "a date", "032586": "a date",
	} {
		err := Check(p)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", p.Reveal(), err, want)
		}
		if err != nil && len(p) > 5 && strings.Contains(err.Error(), p.Reveal()) {
			t.Errorf("the error repeats the PIN: %v", err)
		}
	}
}

// TestMasked: no verb, encoder or logger shows a hash.
func TestMasked(t *testing.T) {
	h := Decoy()
	holder := struct{ PIN Hash }{h}
	raw, _ := json.Marshal(holder)
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "h", h, "holder", holder)
	for _, text := range []string{
		fmt.Sprint(h), fmt.Sprintf("%+v %#v %x %d %q", h, h, h, h, h), fmt.Sprintf("%v %+v", holder, &holder), string(raw), log.String(),
	} {
		if strings.Contains(text, "AAAA") || strings.Contains(text, "0000") || strings.Contains(text, "[0 0") {
			t.Errorf("the hash is shown: %s", text)
		}
	}
}

// TestReference compares with the reference implementation, run anew.
func TestReference(t *testing.T) {
	cmd := exec.Command("argon2", "0123456789abcdef", "-id", "-t", "2", "-k", "9216", "-p", "2", "-l", "24", "-e")
	cmd.Stdin = strings.NewReader("190746528813")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: it is needed, make deps installs Debian's argon2", err)
	}
	h, err := Parse(redact.Secret(strings.TrimSpace(string(out))))
	if err != nil || !h.Verify("190746528813") {
		t.Errorf("the reference implementation's hash is not understood: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(foreign)
	f.Add(Decoy().PHC().Reveal())
	f.Add("$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$AAAAAAAAAAA")
	f.Add("$argon2i$v=19$m=65536,t=4,p=1$$")
	f.Add("$argon2id$v=19$m=12288,t=3,p=1$c2FsdHNhbHRzYWx0c2FsdA\n$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	f.Fuzz(func(t *testing.T, text string) {
		h, err := Parse(redact.Secret(text))
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Errorf("error of another kind: %v", err)
			}
			return
		}
		if got := h.PHC().Reveal(); got != text {
			t.Errorf("parsed and written: got %q, want %q", got, text)
		}
		if h.memory > maxMemory || uint64(h.memory)*uint64(h.passes) > maxWork {
			t.Errorf("accepted m=%d,t=%d", h.memory, h.passes)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	h := Decoy()
	b.ReportAllocs()
	for b.Loop() {
		h.Verify("407193")
	}
}
