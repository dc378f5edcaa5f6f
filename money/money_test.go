package money

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestText(t *testing.T) {
	for _, tt := range []struct {
		a         Amount
		text, brl string
	}{
		{0, "0.00", "R$\u00a00,00"},
		{1, "0.01", "R$\u00a00,01"},
		{-5, "-0.05", "-R$\u00a00,05"},
		{99, "0.99", "R$\u00a00,99"},
		{100, "1.00", "R$\u00a01,00"},
		{-1000, "-10.00", "-R$\u00a010,00"},
		{99999, "999.99", "R$\u00a0999,99"},
		{123456, "1234.56", "R$\u00a01.234,56"},
		{-12345678, "-123456.78", "-R$\u00a0123.456,78"},
		{100000000, "1000000.00", "R$\u00a01.000.000,00"},
		{math.MaxInt64, "92233720368547758.07", "R$\u00a092.233.720.368.547.758,07"},
		{math.MinInt64, "-92233720368547758.08", "-R$\u00a092.233.720.368.547.758,08"},
	} {
		if got := tt.a.String(); got != tt.text {
			t.Errorf("String of %d: got %q, want %q", int64(tt.a), got, tt.text)
		}
		if got := Decimal(tt.a).String(); got != tt.text {
			t.Errorf("String of Decimal %d: got %q, want %q", int64(tt.a), got, tt.text)
		}
		if got := tt.a.BRL(); got != tt.brl {
			t.Errorf("BRL of %d: got %q, want %q", int64(tt.a), got, tt.brl)
		}
	}
}

func TestArithmetic(t *testing.T) {
	for _, tt := range []struct {
		a, b     Amount
		add, sub any
	}{
		{1, 2, Amount(3), Amount(-1)},
		{math.MaxInt64, 0, Amount(math.MaxInt64), Amount(math.MaxInt64)},
		{math.MaxInt64, 1, ErrRange, Amount(math.MaxInt64 - 1)},
		{math.MinInt64, 1, Amount(math.MinInt64 + 1), ErrRange},
		{math.MinInt64, -1, ErrRange, Amount(math.MinInt64 + 1)},
		{0, math.MinInt64, Amount(math.MinInt64), ErrRange},
		{-1, math.MinInt64, ErrRange, Amount(math.MaxInt64)},
		{math.MinInt64, math.MinInt64, ErrRange, Amount(0)},
		{math.MaxInt64, math.MinInt64, Amount(-1), ErrRange},
	} {
		check := func(what string, got Amount, err error, want any) {
			if e, ok := want.(error); ok {
				if !errors.Is(err, e) {
					t.Errorf("%d %s %d: got %d, %v, want %v", tt.a, what, tt.b, int64(got), err, e)
				}
			} else if err != nil || got != want {
				t.Errorf("%d %s %d: got %d, %v, want %v", tt.a, what, tt.b, int64(got), err, want)
			}
		}
		got, err := tt.a.Add(tt.b)
		check("+", got, err, tt.add)
		got, err = tt.a.Sub(tt.b)
		check("-", got, err, tt.sub)
	}
}

// Checked arithmetic agrees with arithmetic that cannot overflow.
func TestArithmeticAgainstBig(t *testing.T) {
	edges := rapid.OneOf(rapid.Int64(), rapid.Int64Range(math.MaxInt64-3, math.MaxInt64), rapid.Int64Range(math.MinInt64, math.MinInt64+3))
	rapid.Check(t, func(t *rapid.T) {
		a, b := edges.Draw(t, "a"), edges.Draw(t, "b")
		x, y := big.NewInt(a), big.NewInt(b)
		for _, op := range []struct {
			name string
			want *big.Int
			do   func(Amount) (Amount, error)
		}{
			{"add", new(big.Int).Add(x, y), Amount(a).Add},
			{"sub", new(big.Int).Sub(x, y), Amount(a).Sub},
		} {
			got, err := op.do(Amount(b))
			if op.want.IsInt64() != (err == nil) || err == nil && int64(got) != op.want.Int64() {
				t.Fatalf("%s: got %d, %v, want %s", op.name, int64(got), err, op.want)
			}
		}
	})
}

func TestSum(t *testing.T) {
	if got, err := Sum(); got != 0 || err != nil {
		t.Errorf("sum of nothing: got %v, %v", got, err)
	}
	if got, err := Sum(100, -30, 5); got != 75 || err != nil {
		t.Errorf("got %v, %v, want 0.75", got, err)
	}
	if got, err := Sum(math.MaxInt64, 1, -1); !errors.Is(err, ErrRange) {
		t.Errorf("got %v, %v, want ErrRange", got, err)
	}
}

func TestParse(t *testing.T) {
	for _, tt := range []struct {
		text string
		want Amount
		err  error
	}{
		{"150.99", 15099, nil},
		{"15", 1500, nil},
		{"2.0", 200, nil},
		{"10.500", 1050, nil},
		{"1e2", 10000, nil},
		{"1E+2", 10000, nil},
		{"1.5e1", 1500, nil},
		{"150e-2", 150, nil},
		{"0.000e-9", 0, nil},
		{"0e32", 0, nil},
		{"-0.05", -5, nil},
		{"-0", 0, nil},
		{"007.10", 710, nil},
		{"92233720368547758.07", math.MaxInt64, nil},
		{"-92233720368547758.08", math.MinInt64, nil},
		{"0.0100000000000000000000000000000000000000000000000000000000000", 1, nil},
		{"10.505", 0, ErrPrecision},
		{"0.001", 0, ErrPrecision},
		{"1e-3", 0, ErrPrecision},
		{"0.0000000000000000000000001", 0, ErrPrecision},
		{"92233720368547758.08", 0, ErrRange},
		{"-92233720368547758.09", 0, ErrRange},
		{"184467440737095516.16", 0, ErrRange},
		{"1e17", 0, ErrRange},
		{"1e33", 0, ErrRange},
		{"1e-33", 0, ErrRange},
		{"1e99999999999999999999", 0, ErrRange},
		{"150,50", 0, ErrSyntax},
		{"", 0, ErrSyntax},
		{"-", 0, ErrSyntax},
		{"+1", 0, ErrSyntax},
		{".5", 0, ErrSyntax},
		{"5.", 0, ErrSyntax},
		{"5.e1", 0, ErrSyntax},
		{"1e", 0, ErrSyntax},
		{"1e+", 0, ErrSyntax},
		{"1e1.0", 0, ErrSyntax},
		{" 1", 0, ErrSyntax},
		{"1 ", 0, ErrSyntax},
		{"1_000", 0, ErrSyntax},
		{"1,234.50", 0, ErrSyntax},
		{"--1", 0, ErrSyntax},
		{"0x10", 0, ErrSyntax},
		{"NaN", 0, ErrSyntax},
		{"Infinity", 0, ErrSyntax},
		{"null", 0, ErrSyntax},
		{"R$ 10,00", 0, ErrSyntax},
		{"١٥", 0, ErrSyntax},
		{strings.Repeat("0", 65), 0, ErrSyntax},
	} {
		got, err := Parse(tt.text)
		if got != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("Parse(%q): got %d, %v, want %d, %v", tt.text, int64(got), err, int64(tt.want), tt.err)
		}
	}
}

func TestParseBR(t *testing.T) {
	for _, tt := range []struct {
		text string
		want Amount
		err  error
	}{
		{"1.234,56", 123456, nil},
		{"1234,56", 123456, nil},
		{"R$ 10,00", 1000, nil},
		{"R$\u00a010,00", 1000, nil},
		{"R$10,00", 1000, nil},
		{"-R$ 10,00", -1000, nil},
		{"-0,05", -5, nil},
		{"10", 1000, nil},
		{"1.234", 123400, nil},
		{"12.345.678,90", 1234567890, nil},
		{"R$\u00a092.233.720.368.547.758,07", math.MaxInt64, nil},
		{"92.233.720.368.547.758,08", 0, ErrRange},
		{"10,505", 0, ErrPrecision},
		{"10,5", 0, ErrSyntax},
		{"10,", 0, ErrSyntax},
		{"10.50", 0, ErrSyntax},
		{"1,234.56", 0, ErrPrecision},
		{"1234.567,00", 0, ErrSyntax},
		{"1.23,00", 0, ErrSyntax},
		{"1..234", 0, ErrSyntax},
		{",50", 0, ErrSyntax},
		{"R$", 0, ErrSyntax},
		{"R$ -10,00", 0, ErrSyntax},
		{"R$  10,00", 0, ErrSyntax},
		{"US$ 10,00", 0, ErrSyntax},
		{"10,00 ", 0, ErrSyntax},
		{"1e2", 0, ErrSyntax},
		{"", 0, ErrSyntax},
		{strings.Repeat("1", 65), 0, ErrSyntax},
	} {
		got, err := ParseBR(tt.text)
		if got != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("ParseBR(%q): got %d, %v, want %d, %v", tt.text, int64(got), err, int64(tt.want), tt.err)
		}
	}
}

func TestErrorTexts(t *testing.T) {
	for _, tt := range []struct {
		parse func(string) (Amount, error)
		text  string
		want  string
	}{
		{Parse, "150,50", `parse amount "150,50": not an amount: unexpected ",50", want digits with an optional dot and decimals`},
		{Parse, "10.505", `parse amount "10.505": finer than a centavo`},
		{ParseBR, "10.5", `parse amount "10.5": not an amount: want three digits after each dot and a comma before the centavos`},
		{ParseBR, "1,2", `parse amount "1,2": not an amount: want two digits after the comma`},
	} {
		if _, err := tt.parse(tt.text); err == nil || err.Error() != tt.want {
			t.Errorf("got %v\nwant %s", err, tt.want)
		}
	}
}

func TestJSON(t *testing.T) {
	type doc struct {
		A Amount
		D Decimal
		P *Decimal `json:",omitempty"`
	}
	got, err := json.Marshal(doc{A: 15050, D: 15050})
	if want := `{"A":15050,"D":150.50}`; err != nil || string(got) != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
	for _, tt := range []struct {
		in  string
		a   Amount
		d   Decimal
		err error
	}{
		{`{"A":15050,"D":150.5}`, 15050, 15050, nil},
		{`{"A":-1,"D":"150.50"}`, -1, 15050, nil},
		{`{"A":0,"D":"\u0031\u0035"}`, 0, 1500, nil},
		{`{"A":1,"D":1.5e2}`, 1, 15000, nil},
		{`{"A":150.5}`, 0, 0, ErrSyntax},
		{`{"A":1e2}`, 0, 0, ErrSyntax},
		{`{"A":100.0}`, 0, 0, ErrSyntax},
		{`{"A":"100"}`, 0, 0, ErrSyntax},
		{`{"A":null}`, 0, 0, ErrSyntax},
		{`{"A":true}`, 0, 0, ErrSyntax},
		{`{"A":9223372036854775808}`, 0, 0, ErrRange},
		{`{"D":10.505}`, 0, 0, ErrPrecision},
		{`{"D":"150,50"}`, 0, 0, ErrSyntax},
		{`{"D":""}`, 0, 0, ErrSyntax},
		{`{"D":null}`, 0, 0, ErrSyntax},
		{`{"D":[1]}`, 0, 0, ErrSyntax},
		{`{"D":1e300}`, 0, 0, ErrRange},
	} {
		var d doc
		err := json.Unmarshal([]byte(tt.in), &d)
		if !errors.Is(err, tt.err) || err == nil && (d.A != tt.a || d.D != tt.d) {
			t.Errorf("%s: got %+v, %v, want %d, %d, %v", tt.in, d, err, int64(tt.a), int64(tt.d), tt.err)
		}
	}
	var d doc
	if err := json.Unmarshal([]byte(`{"P":null}`), &d); err != nil || d.P != nil {
		t.Errorf("absent decimal: got %v, %v", d.P, err)
	}
}

// Whatever is printed reads back, in all four forms.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := Amount(rapid.Int64().Draw(t, "a"))
		if got, err := Parse(a.String()); err != nil || got != a {
			t.Fatalf("Parse(%q): got %d, %v", a.String(), int64(got), err)
		}
		if got, err := ParseBR(a.BRL()); err != nil || got != a {
			t.Fatalf("ParseBR(%q): got %d, %v", a.BRL(), int64(got), err)
		}
		in := struct {
			A Amount
			D Decimal
		}{a, Decimal(a)}
		data, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		out := in
		out.A, out.D = 1, 1
		if err := json.Unmarshal(data, &out); err != nil || out != in {
			t.Fatalf("%s: got %+v, %v", data, out, err)
		}
	})
}

// Parse against exact rational arithmetic; and print, parse again.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"150.99", "15", "2.0", "10.500", "1e2", "10.505", "150,50", "-0.05", "1E-2", "0e0", "92233720368547758.07",
		"-92233720368547758.08", "92233720368547758.08", "1e32", "5.", ".5", "", "1e", "00.010", "0.1e33", "٣",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := Parse(text)
		if err != nil {
			if !errors.Is(err, ErrSyntax) && !errors.Is(err, ErrPrecision) && !errors.Is(err, ErrRange) {
				t.Fatalf("Parse(%q): %v wraps none of the sentinels", text, err)
			}
			return
		}
		want, ok := new(big.Rat).SetString(text)
		if !ok {
			t.Fatalf("Parse(%q) = %s, but that is no number", text, got)
		}
		want.Mul(want, big.NewRat(100, 1))
		if want.Cmp(new(big.Rat).SetInt64(int64(got))) != 0 {
			t.Fatalf("Parse(%q) = %d centavos, want %s", text, int64(got), want)
		}
		if again, err := Parse(got.String()); err != nil || again != got {
			t.Fatalf("Parse(%q) after print: %d, %v", got.String(), int64(again), err)
		}
	})
}

func FuzzParseBR(f *testing.F) {
	for _, s := range []string{"1.234,56", "R$ 10,00", "-R$\u00a00,05", "10", "10,5", "1.23", "1,234.56", "", "R$", "999.999,99"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := ParseBR(text)
		if err != nil {
			return
		}
		// What is left without grouping is a number in wire form.
		bare := strings.NewReplacer("R$\u00a0", "", "R$ ", "", "R$", "", ".", "", ",", ".").Replace(text)
		if want, err := Parse(bare); err != nil || want != got {
			t.Fatalf("ParseBR(%q) = %s, Parse(%q) = %s, %v", text, got, bare, want, err)
		}
		if again, err := ParseBR(got.BRL()); err != nil || again != got {
			t.Fatalf("ParseBR(%q) after print: %d, %v", got.BRL(), int64(again), err)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	for b.Loop() {
		if _, err := Parse("1234.56"); err != nil {
			b.Fatal(err)
		}
	}
}

func ExampleAmount() {
	a, err := ParseBR("R$ 1.234,56")
	if err != nil {
		fmt.Println(err)
		return
	}
	sum, err := a.Add(44)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(sum, strings.ReplaceAll(sum.BRL(), "\u00a0", " "))
	// Output: 1235.00 R$ 1.235,00
}
