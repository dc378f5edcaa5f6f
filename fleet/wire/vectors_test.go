package wire

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write vectors and documents anew from the code")

// The files in testdata are for other implementations as much as for this one:
// plain JSON, described in docs/mqtt-protocol.md.

// errorWords names each error in vectors and documents.
var errorWords = map[string]error{
	"too_large": ErrTooLarge, "encoding": ErrEncoding, "version": ErrVersion, "malformed": ErrMalformed, "topic": ErrTopic,
	"signature": ErrSignature, "algorithm": ErrAlgorithm, "type": ErrType, "audience": ErrAudience, "expired": ErrExpired, "key": ErrKey, "sealed": ErrSealed,
}

// wordOf is "ok", or the word of the error.
func wordOf(err error) string {
	if err == nil {
		return "ok"
	}
	for word, known := range errorWords {
		if errors.Is(err, known) {
			return word
		}
	}
	return err.Error()
}

type vectorKey struct {
	Name   string    `json:"name"`
	Kid    string    `json:"kid"`
	Pinned bool      `json:"pinned"`
	JWK    vectorJWK `json:"jwk"`
}

type vectorJWK struct {
	Kty string `json:"kty"`
	Crv string `json:"crv"`
	X   string `json:"x"`
	D   string `json:"d"`
}

type tokenVector struct {
	Name         string          `json:"name"`
	Typ          string          `json:"typ"`
	Now          int64           `json:"now"`
	ClockTrusted bool            `json:"clock_trusted"`
	Token        string          `json:"token"`
	Want         string          `json:"want"`
	Claims       json.RawMessage `json:"claims,omitempty"`
}

type tokenFile struct {
	About  string        `json:"about"`
	Keys   []vectorKey   `json:"keys"`
	Aud    string        `json:"aud"`
	Tokens []tokenVector `json:"tokens"`
}

// jws signs whatever it is given.
func jws(key ed25519.PrivateKey, head, body string) string {
	input := b64.EncodeToString([]byte(head)) + "." + b64.EncodeToString([]byte(body))
	return input + "." + b64.EncodeToString(ed25519.Sign(key, []byte(input)))
}

func headText(typ, kid string) string {
	return `{"alg":"EdDSA","typ":"` + typ + `","kid":"` + kid + `"}`
}

// claimsText is what the signer writes.
func claimsText(t testing.TB, tok token) string {
	t.Helper()
	raw, err := marshal(tok)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// edit replaces the one place where old stands.
func edit(t testing.TB, text, old, with string) string {
	t.Helper()
	if n := strings.Count(text, old); n != 1 {
		t.Fatalf("%q is %d times in %q", old, n, text)
	}
	return strings.Replace(text, old, with, 1)
}

// malleated is the same signature with S+L for S, which a careless verifier
// takes too (RFC 8032, section 5.1.7).
func malleated(t testing.TB, token string) string {
	t.Helper()
	i := strings.LastIndexByte(token, '.') + 1
	sig, err := b64.DecodeString(token[i:])
	if err != nil {
		t.Fatal(err)
	}
	order, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
	s := slices.Clone(sig[32:])
	slices.Reverse(s)
	sum := new(big.Int).Add(new(big.Int).SetBytes(s), order).FillBytes(make([]byte, 32))
	slices.Reverse(sum)
	return token[:i] + b64.EncodeToString(append(sig[:32:32], sum...))
}

// tokenVectors builds all of them. Each bad one has one fault.
func tokenVectors(t testing.TB) tokenFile {
	t.Helper()
	file := tokenFile{
		About: "Signed tokens and what a device must make of them; docs/mqtt-protocol.md says how to read this file. The keys are for tests only.",
		Aud:   exampleDevice(),
	}
	for _, k := range []struct {
		name   string
		key    ed25519.PrivateKey
		pinned bool
	}{{"hub", hubKey, true}, {"hub, next", nextKey, true}, {"stranger", strangerKey, false}} {
		file.Keys = append(file.Keys, vectorKey{
			k.name, KeyID(public(k.key)), k.pinned,
			vectorJWK{"OKP", "Ed25519", EncodeKey(public(k.key)), b64.EncodeToString(k.key.Seed())},
		})
	}
	now := exampleNow.Unix()
	add := func(want, name, typ, token string, when int64, trusted bool) {
		file.Tokens = append(file.Tokens, tokenVector{name, typ, when, trusted, token, want, nil})
	}
	kid, nextKid, strangerKid := KeyID(public(hubKey)), KeyID(public(nextKey)), KeyID(public(strangerKey))
	head := headText(TypAck, kid)
	tokens := exampleTokens(t)
	ack := claimsText(t, tokens[0])
	wanting := claimsText(t, tokens[1])
	good := jws(hubKey, head, ack)

	// Good ones.
	for _, tok := range tokens {
		add("ok", "made by the signer: "+tok.claims().JTI, tok.typ(), jws(hubKey, headText(tok.typ(), kid), claimsText(t, tok)), now, true)
	}
	add("ok", "signed with the next key", TypAck, jws(nextKey, headText(TypAck, nextKid), ack), now, true)
	add("ok", "unknown claim of a newer hub", TypAck, jws(hubKey, head, edit(t, ack, `{"aud"`, `{"more":{"x":[1.5e3,true]},"aud"`)), now, true)
	add("ok", "members in another order and white space", TypAck,
		jws(hubKey, "{ \"kid\": \""+kid+"\",\n\"typ\": \"ack+jws\", \"alg\": \"EdDSA\" }", strings.ReplaceAll(ack, ",", " ,\t")), now, true)
	add("ok", "characters escaped", TypAck, jws(hubKey, edit(t, head, "EdDSA", `\u0045dDSA`), edit(t, ack, `"ctr"`, `"\u0063tr"`)), now, true)
	add("ok", "last second, leeway included", TypAck, good, now+3600+59, true)
	add("ok", "first second, leeway included", TypAck, good, now-60, true)
	add("ok", "long expired, but the clock is not trusted", TypAck, good, now+10*365*86400, false)
	add("ok", "not made yet, but the clock is not trusted", TypAck, good, now-10*365*86400, false)

	// Times.
	add("expired", "leeway over", TypAck, good, now+3600+60, true)
	add("expired", "made in the future", TypAck, good, now-61, true)

	// Forgeries.
	sigAt := strings.LastIndexByte(good, '.') + 1
	flipped := []byte(good)
	flipped[sigAt] ^= 'A' ^ 'B'
	add("signature", "one bit of the signature", TypAck, string(flipped), now, true)
	altered := b64.EncodeToString([]byte(edit(t, ack, `"ctr":42`, `"ctr":52`)))
	add("signature", "payload altered", TypAck, good[:strings.IndexByte(good, '.')+1]+altered+good[sigAt-1:], now, true)
	add("signature", "kid of the other pinned key", TypAck, jws(hubKey, headText(TypAck, nextKid), ack), now, true)
	add("signature", "a stranger's signature under a pinned kid", TypAck, jws(strangerKey, head, ack), now, true)
	add("signature", "signature of zeros", TypAck, good[:sigAt]+b64.EncodeToString(make([]byte, 64)), now, true)
	add("signature", "signature with S+L for S", TypAck, malleated(t, good), now, true)
	add("signature", "signature of the payload alone", TypAck, good[:sigAt]+b64.EncodeToString(ed25519.Sign(hubKey, []byte(ack))), now, true)
	payAsAck := jws(hubKey, headText(TypPay, kid), claimsText(t, tokens[2]))
	add("signature", "header of another token in front", TypAck, good[:strings.IndexByte(good, '.')]+payAsAck[strings.IndexByte(payAsAck, '.'):], now, true)
	add("key", "a stranger's key", TypAck, jws(strangerKey, headText(TypAck, strangerKid), ack), now, true)
	add("key", "kid in upper case", TypAck, jws(hubKey, headText(TypAck, strings.ToUpper(kid)), ack), now, true)
	add("key", "empty kid", TypAck, jws(hubKey, headText(TypAck, ""), ack), now, true)

	// Algorithms.
	unsigned := func(alg, sig string) string {
		return b64.EncodeToString([]byte(edit(t, head, "EdDSA", alg))) + "." + b64.EncodeToString([]byte(ack)) + "." + sig
	}
	add("algorithm", "alg none without signature", TypAck, unsigned("none", ""), now, true)
	add("algorithm", "alg None without signature", TypAck, unsigned("None", ""), now, true)
	add("algorithm", "alg none with the signature of another token", TypAck, unsigned("none", good[sigAt:]), now, true)
	for _, secret := range []struct {
		name string
		key  []byte
	}{
		{"the public key", public(hubKey)},
		{"the public key as text", []byte(EncodeKey(public(hubKey)))},
	} {
		input := unsigned("HS256", "")
		mac := hmac.New(sha256.New, secret.key)
		mac.Write([]byte(strings.TrimSuffix(input, ".")))
		add("algorithm", "alg HS256 with "+secret.name+" as secret", TypAck, input+b64.EncodeToString(mac.Sum(nil)), now, true)
	}
	for _, alg := range []string{"eddsa", "EDDSA", "Ed25519", "ES256", ""} {
		add("algorithm", "alg "+alg+", signed with EdDSA", TypAck, jws(hubKey, edit(t, head, "EdDSA", alg), ack), now, true)
	}

	// Types.
	add("type", "a pay where an ack is expected", TypAck, payAsAck, now, true)
	add("type", "an ack where a pay is expected", TypPay, good, now, true)
	add("type", "an ack where a charge is expected", TypCharge, good, now, true)
	for _, typ := range []string{"JWT", "ACK+JWS", "application/ack+jws", "ack+jws ", ""} {
		add("type", "typ "+typ, TypAck, jws(hubKey, edit(t, head, TypAck, typ), ack), now, true)
	}

	// Headers.
	for _, h := range []struct{ name, head string }{
		{"no alg", edit(t, head, `"alg":"EdDSA",`, ``)},
		{"no typ", edit(t, head, `"typ":"ack+jws",`, ``)},
		{"no kid", edit(t, head, `,"kid":"`+kid+`"`, ``)},
		{"alg twice", edit(t, head, `{`, `{"alg":"none",`)},
		{"typ twice", edit(t, head, `{`, `{"typ":"pay+jws",`)},
		{"kid twice", edit(t, head, `{`, `{"kid":"`+strangerKid+`",`)},
		{"alg and ALG", edit(t, head, `{`, `{"ALG":"none",`)},
		{"Alg for alg", edit(t, head, `"alg"`, `"Alg"`)},
		{"alg with a long s", edit(t, head, `"alg":"EdDSA"`, `"alg":"EdDSA","kid\u017f":""`)},
		{"unknown member", edit(t, head, `}`, `,"x":"y"}`)},
		{"unknown member instead of kid", edit(t, head, `"kid"`, `"x"`)},
		{"critical member", edit(t, head, `}`, `,"crit":["exp"],"exp":1}`)},
		{"empty list of critical members", edit(t, head, `}`, `,"crit":[]}`)},
		{"payload not encoded", edit(t, head, `}`, `,"b64":false,"crit":["b64"]}`)},
		{"key inside", edit(t, head, `}`, `,"jwk":{"kty":"OKP","crv":"Ed25519","x":"`+EncodeKey(public(strangerKey))+`"}}`)},
		{"address of keys inside", edit(t, head, `}`, `,"jku":"https://example.com/keys"}`)},
		{"compressed", edit(t, head, `}`, `,"zip":"DEF"}`)},
		{"alg is a list", edit(t, head, `"EdDSA"`, `["EdDSA"]`)},
		{"kid is null", edit(t, head, `"`+kid+`"`, `null`)},
		{"two objects", head + head},
		{"more behind", head + "x"},
		{"list", "[" + head + "]"},
		{"string", `"EdDSA"`},
		{"empty object", `{}`},
		{"nothing", ``},
		{"not closed", strings.TrimSuffix(head, "}")},
		{"not UTF-8", edit(t, head, "EdDSA", "EdDSA\xff")},
		{"too long", strings.Repeat(" ", 300) + head},
	} {
		add("malformed", "header: "+h.name, TypAck, jws(hubKey, h.head, ack), now, true)
	}

	// Claims, all properly signed: a hub with a fault must not do harm either.
	for _, c := range []struct{ want, name, body string }{
		{"audience", "for another device", edit(t, ack, exampleDevice(), "dother")},
		{"malformed", "aud is empty", edit(t, ack, exampleDevice(), "")},
		{"malformed", "aud is a list", edit(t, ack, `"`+exampleDevice()+`"`, `["`+exampleDevice()+`"]`)},
		{"malformed", "aud is missing", edit(t, ack, `"aud":"`+exampleDevice()+`",`, ``)},
		{"malformed", "AUD for aud", edit(t, ack, `"aud"`, `"AUD"`)},
		{"malformed", "jti is missing", edit(t, ack, `"jti":"ack-9c21",`, ``)},
		{"malformed", "jti is empty", edit(t, ack, `ack-9c21`, ``)},
		{"malformed", "ctr is missing", edit(t, ack, `"ctr":42,`, ``)},
		{"malformed", "ctr is 0", edit(t, ack, `"ctr":42`, `"ctr":0`)},
		{"malformed", "ctr is negative", edit(t, ack, `"ctr":42`, `"ctr":-42`)},
		{"malformed", "ctr is a string", edit(t, ack, `"ctr":42`, `"ctr":"42"`)},
		{"malformed", "ctr is a fraction", edit(t, ack, `"ctr":42`, `"ctr":42.5`)},
		{"malformed", "ctr with an exponent", edit(t, ack, `"ctr":42`, `"ctr":4e1`)},
		{"malformed", "ctr with a leading zero", edit(t, ack, `"ctr":42`, `"ctr":042`)},
		{"malformed", "ctr is 2^53", edit(t, ack, `"ctr":42`, `"ctr":9007199254740992`)},
		{"malformed", "ctr is 2^64", edit(t, ack, `"ctr":42`, `"ctr":18446744073709551616`)},
		{"malformed", "iat is missing", edit(t, ack, `"iat":1782907205,`, ``)},
		{"malformed", "iat is 0", edit(t, ack, `"iat":1782907205`, `"iat":0`)},
		{"malformed", "exp is missing", edit(t, ack, `"exp":1782910805,`, ``)},
		{"malformed", "exp is null", edit(t, ack, `"exp":1782910805`, `"exp":null`)},
		{"malformed", "exp is iat", edit(t, ack, `"exp":1782910805`, `"exp":1782907205`)},
		{"malformed", "exp before iat", edit(t, ack, `"exp":1782910805`, `"exp":1782907204`)},
		{"malformed", "lives longer than a day", edit(t, ack, `"exp":1782910805`, `"exp":1782993606`)},
		{"malformed", "lives for ever", edit(t, ack, `"exp":1782910805`, `"exp":9223372036854775807`)},
		{"malformed", "ends after the year 9999", edit(t, edit(t, ack, `"exp":1782910805`, `"exp":253402300800`), `"iat":1782907205`, `"iat":253402300790`)},
		{"malformed", "ctr twice", edit(t, ack, `"ctr":42`, `"ctr":42,"ctr":43`)},
		{"malformed", "ctr twice, once escaped", edit(t, ack, `"ctr":42`, `"ctr":42,"\u0063tr":43`)},
		{"malformed", "ctr and CTR", edit(t, ack, `"ctr":42`, `"ctr":42,"CTR":43`)},
		{"malformed", "seq twice", edit(t, ack, `"seq":3`, `"seq":2,"seq":3`)},
		{"malformed", "member twice in want", edit(t, wanting, `"want":{`, `"want":{"seq":1,`)},
		{"malformed", "seq is missing", edit(t, ack, `"seq":3,`, ``)},
		{"malformed", "seq is a string", edit(t, ack, `"seq":3`, `"seq":"3"`)},
		{"malformed", "seq is 0 with a head", edit(t, ack, `"seq":3`, `"seq":0`)},
		{"malformed", "head of zeros", edit(t, ack, exampleHead(t, 3).Hash.String(), strings.Repeat("0", 64))},
		{"malformed", "head is missing", edit(t, ack, `,"head":"`+exampleHead(t, 3).Hash.String()+`"`, ``)},
		{"malformed", "head is short", edit(t, ack, `"head":"`, `"head":"0`)},
		{"malformed", "head in upper case", edit(t, ack, exampleHead(t, 3).Hash.String(), strings.ToUpper(exampleHead(t, 3).Hash.String()))},
		{"malformed", "want is null", edit(t, wanting, `{"epoch":1,"seq":2}`, `null`)},
		{"malformed", "want without seq", edit(t, wanting, `{"epoch":1,"seq":2}`, `{"epoch":1}`)},
		{"malformed", "want from 0", edit(t, wanting, `{"epoch":1,"seq":2}`, `{"epoch":1,"seq":0}`)},
		{"malformed", "two objects", ack + ack},
		{"malformed", "more behind", ack + "}"},
		{"malformed", "list", "[" + ack + "]"},
		{"malformed", "null", "null"},
		{"malformed", "nothing", ""},
		{"malformed", "not closed", strings.TrimSuffix(ack, "}")},
		{"malformed", "comma at the end", strings.TrimSuffix(ack, "}") + ",}"},
		{"malformed", "byte order mark", "\ufeff" + ack},
		{"malformed", "not UTF-8", edit(t, ack, `{"aud"`, "{\"x\":\"\xff\",\"aud\"")},
		{"malformed", "unknown member twice", edit(t, ack, `{"aud"`, `{"x":1,"x":1,"aud"`)},
		{"malformed", "unknown member null", edit(t, ack, `{"aud"`, `{"x":null,"aud"`)},
		{"malformed", "unknown member with capitals", edit(t, ack, `{"aud"`, `{"New":1,"aud"`)},
		{"malformed", "unknown member nested too deep", edit(t, ack, `{"aud"`, `{"x":[[[[[[[[1]]]]]]]],"aud"`)},
	} {
		add(c.want, "claims: "+c.name, TypAck, jws(hubKey, head, c.body), now, true)
	}
	pay, payHead := claimsText(t, tokens[2]), headText(TypPay, kid)
	for _, c := range []struct{ want, name, body string }{
		{"ok", "pay: expired, without money", edit(t, edit(t, edit(t, pay, `"status":"paid"`, `"status":"expired"`), `"cents":1050`, `"cents":0`), `"end_to_end":"`+exampleE2E+`",`, ``)},
		{"malformed", "pay: unknown status", edit(t, pay, `"status":"paid"`, `"status":"PAID"`)},
		{"malformed", "pay: paid nothing", edit(t, pay, `"cents":1050`, `"cents":0`)},
		{"malformed", "pay: negative", edit(t, pay, `"cents":1050`, `"cents":-1050`)},
		{"malformed", "pay: reais instead of centavos", edit(t, pay, `"cents":1050`, `"cents":10.50`)},
		{"malformed", "pay: amount as a string", edit(t, pay, `"cents":1050`, `"cents":"1050"`)},
		{"malformed", "pay: cents missing", edit(t, pay, `"cents":1050,`, ``)},
		{"malformed", "pay: ver 0", edit(t, pay, `"ver":2`, `"ver":0`)},
		{"malformed", "pay: attempt 0", edit(t, pay, `"attempt":1`, `"attempt":0`)},
		{"malformed", "pay: no charge", edit(t, pay, exampleCharge, ``)},
		{"malformed", "pay: half a surrogate pair", edit(t, pay, `tx_93b1c2`, `tx_\ud800`)},
		{"malformed", "pay: time without zone", edit(t, pay, `12:00:03Z`, `12:00:03`)},
		{"malformed", "pay: time before 1970", edit(t, pay, `2026-07-01T12:00:03Z`, `1970-01-01T00:00:00+01:00`)},
		{"malformed", "pay: time after 9999", edit(t, pay, `2026-07-01T12:00:03Z`, `9999-12-31T23:00:00-03:00`)},
		{"malformed", "pay: time as a number", edit(t, pay, `"2026-07-01T12:00:03Z"`, `1782907203`)},
	} {
		add(c.want, "claims: "+c.name, TypPay, jws(hubKey, payHead, c.body), now, true)
	}
	charge, chargeHead := claimsText(t, tokens[3]), headText(TypCharge, kid)
	for _, c := range []struct{ want, name, body string }{
		{"malformed", "charge: nothing to pay", edit(t, charge, `"amount":2500`, `"amount":0`)},
		{"malformed", "charge: negative", edit(t, charge, `"amount":2500`, `"amount":-1`)},
		{"malformed", "charge: reais instead of centavos", edit(t, charge, `"amount":2500`, `"amount":25.00`)},
		{"malformed", "charge: no reference", edit(t, charge, `"reference":"pedido 2231"`, `"reference":""`)},
		{"malformed", "charge: line break in the description", edit(t, charge, `"Pedido 2231"`, `"Pedido\n2231"`)},
		{"malformed", "charge: present is 1", edit(t, charge, `"present":true`, `"present":1`)},
		{"malformed", "charge: present is missing", edit(t, charge, `,"present":true`, ``)},
	} {
		add(c.want, "claims: "+c.name, TypCharge, jws(hubKey, chargeHead, c.body), now, true)
	}
	refund, refundHead := claimsText(t, tokens[5]), headText(TypPayout, kid)
	for _, c := range []struct{ want, name, body string }{
		{"ok", "payout: signed for by a person", edit(t, refund, `"digest":"`+strings.Repeat("5e", 32)+`",`, ``)},
		{"ok", "payout: to a key", edit(t, edit(t, edit(t, refund, `"kind":"refund"`, `"kind":"payout"`), `"charge":"`+exampleCharge+`",`, ``), `"end_to_end":"`+exampleE2E+`",`, ``)},
		{"malformed", "payout: unknown kind", edit(t, refund, `"kind":"refund"`, `"kind":"gift"`)},
		{"malformed", "payout: unknown state", edit(t, refund, `"state":"settled"`, `"state":"paid"`)},
		{"malformed", "payout: nothing", edit(t, refund, `"cents":500`, `"cents":0`)},
		{"malformed", "payout: negative", edit(t, refund, `"cents":500`, `"cents":-500`)},
		{"malformed", "payout: a refund of no charge", edit(t, refund, `"charge":"`+exampleCharge+`",`, ``)},
		{"malformed", "payout: a refund of no payment", edit(t, refund, `"end_to_end":"`+exampleE2E+`",`, ``)},
		{"malformed", "payout: to a key, of a charge", edit(t, refund, `"kind":"refund"`, `"kind":"payout"`)},
		{"malformed", "payout: settled by nobody's word", edit(t, edit(t, refund, `"digest":"`+strings.Repeat("5e", 32)+`",`, ``), `,"by":"bia"`, ``)},
	} {
		add(c.want, "claims: "+c.name, TypPayout, jws(hubKey, refundHead, c.body), now, true)
	}

	// Spellings.
	parts := strings.Split(good, ".")
	spare := []byte(good)
	// The last of 86 characters holds 2 bits: any of the other 4 must be zero.
	spare[len(spare)-1] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[strings.IndexByte("AQgw", spare[len(spare)-1])*16+1]
	alphabet := edit(t, ack, `{"aud"`, `{"x":"`+strings.Repeat("~?", 6)+`","aud"`)
	standard := b64.EncodeToString([]byte(head)) + "." + base64.RawStdEncoding.EncodeToString([]byte(alphabet))
	if !strings.ContainsAny(standard, "+/") {
		t.Fatal("the standard alphabet makes no difference here")
	}
	standard += "." + b64.EncodeToString(ed25519.Sign(hubKey, []byte(standard)))
	for _, s := range []struct{ want, name, token string }{
		{"malformed", "padding after the header", parts[0] + "=." + parts[1] + "." + parts[2]},
		{"malformed", "padding after the signature", good + "=="},
		{"malformed", "spare bits of the signature set", string(spare)},
		{"malformed", "standard alphabet", standard},
		{"malformed", "line feed inside", good[:20] + "\n" + good[20:]},
		{"malformed", "line feed behind", good + "\n"},
		{"malformed", "carriage return inside", good[:20] + "\r" + good[20:]},
		{"malformed", "space in front", " " + good},
		{"malformed", "Bearer in front", "Bearer " + good},
		{"malformed", "zero byte behind", good + "\x00"},
		{"malformed", "two parts", parts[0] + "." + parts[1]},
		{"malformed", "four parts", good + "." + parts[2]},
		{"malformed", "five parts", "." + good + "."},
		{"malformed", "no header", "." + parts[1] + "." + parts[2]},
		{"signature", "no payload", parts[0] + ".." + parts[2]},
		{"malformed", "no signature", parts[0] + "." + parts[1] + "."},
		{"malformed", "short signature", good[:len(good)-2]},
		{"malformed", "long signature", good + "AA"},
		{"malformed", "two tokens", good + good},
		{"malformed", "nothing", ""},
		{"malformed", "dots", ".."},
		{"malformed", "JSON serialization", `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`},
		{"too_large", "oversized claims, properly signed", jws(hubKey, head, edit(t, ack, `{"aud"`, `{"x":"`+strings.Repeat("x", MaxToken)+`","aud"`))},
		{"too_large", "oversized text", strings.Repeat("A", MaxToken+1)},
	} {
		add(s.want, "spelling: "+s.name, TypAck, s.token, now, true)
	}

	// What a good one holds.
	for i, v := range file.Tokens {
		if v.Want == "ok" {
			body, err := b64.DecodeString(strings.Split(v.Token, ".")[1])
			if err != nil {
				t.Fatal(err)
			}
			var compact bytes.Buffer
			if err := json.Compact(&compact, body); err != nil {
				t.Fatal(err)
			}
			file.Tokens[i].Claims = compact.Bytes()
		}
	}
	return file
}

// golden compares a file in testdata with what the code makes now, or writes it.
func golden(t testing.TB, name string, v any) {
	t.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "\t")
	if err := e.Encode(v); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(got), b.String()); diff != "" {
		t.Fatalf("%s is not what the code makes; go test ./fleet/wire -update writes it anew:\n%s", path, diff)
	}
}

// load reads a file of vectors.
func load[V any](t testing.TB, name string) V {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	var v V
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// open opens a token into a new value of its type.
func open(keys Keys, token, typ, aud string, now time.Time, trusted bool) (token, error) {
	switch typ {
	case TypAck:
		var a Ack
		err := keys.Open([]byte(token), typ, aud, now, trusted, &a)
		return a, err
	case TypPay:
		var p Pay
		err := keys.Open([]byte(token), typ, aud, now, trusted, &p)
		return p, err
	case TypPayout:
		var p Payout
		err := keys.Open([]byte(token), typ, aud, now, trusted, &p)
		return p, err
	case TypCharge:
		var r ChargeRequest
		err := keys.Open([]byte(token), typ, aud, now, trusted, &r)
		return r, err
	}
	return nil, errors.New("no such typ")
}

func TestTokenVectors(t *testing.T) {
	golden(t, "tokens.json", tokenVectors(t))
	file := load[tokenFile](t, "tokens.json")
	var pubs []ed25519.PublicKey
	for _, k := range file.Keys {
		pub, err := ParseKey(k.JWK.X)
		if err != nil || KeyID(pub) != k.Kid {
			t.Fatalf("key %s: %s, %v", k.Name, KeyID(pub), err)
		}
		if k.Pinned {
			pubs = append(pubs, pub)
		}
	}
	keys, err := NewKeys(pubs...)
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[string]bool)
	words := make(map[string]int)
	for _, v := range file.Tokens {
		if names[v.Name] {
			t.Errorf("two vectors are named %q", v.Name)
		}
		names[v.Name] = true
		words[v.Want]++
		got, err := open(keys, v.Token, v.Typ, file.Aud, time.Unix(v.Now, 0), v.ClockTrusted)
		if word := wordOf(err); word != v.Want {
			t.Errorf("%s: got %s (%v), want %s", v.Name, word, err, v.Want)
		}
		if err != nil {
			if !reflect.ValueOf(got).IsZero() {
				t.Errorf("%s: refused, but decoded: %+v", v.Name, got)
			}
			continue
		}
		var want, said any
		if err := errors.Join(json.Unmarshal(v.Claims, &want), json.Unmarshal([]byte(claimsText(t, got)), &said)); err != nil {
			t.Fatal(err)
		}
		delete(want.(map[string]any), "more")
		if diff := cmp.Diff(said, want); diff != "" {
			t.Errorf("%s: got before want:\n%s", v.Name, diff)
		}
	}
	for _, word := range []string{"ok", "too_large", "malformed", "algorithm", "type", "key", "signature", "audience", "expired"} {
		if words[word] == 0 {
			t.Errorf("no vector is %s", word)
		}
	}
}

type messageVector struct {
	Name    string  `json:"name"`
	Channel Channel `json:"channel"`
	Text    string  `json:"text"`
	Want    string  `json:"want"`
}

// messageVectors are the examples, and each with one fault.
func messageVectors(t testing.TB) []messageVector {
	t.Helper()
	var list []messageVector
	texts := make(map[Channel]string)
	for _, m := range exampleMessages(t) {
		raw, err := marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		name := "example of " + string(m.Channel())
		if _, ok := texts[m.Channel()]; ok {
			name += ", another"
		} else {
			texts[m.Channel()] = string(raw)
		}
		list = append(list, messageVector{name, m.Channel(), string(raw), "ok"})
	}
	add := func(want, name string, c Channel, old, with string) {
		list = append(list, messageVector{name, c, edit(t, texts[c], old, with), want})
	}
	// The same faults in each.
	for _, up := range Channels(true) {
		text, ok := texts[up]
		if !ok {
			continue // batches have vectors of their own
		}
		name := string(up) + ": "
		add("ok", name+"unknown member", up, `{"v":1,`, `{"v":1,"new":{"x":[1.5,true,"y"]},`)
		add("version", name+"version 2", up, `{"v":1,`, `{"v":2,`)
		add("version", name+"version 2 of another shape", up, text, `{"v":2}`)
		add("malformed", name+"no version", up, `{"v":1,`, `{`)
		add("malformed", name+"version as a string", up, `{"v":1,`, `{"v":"1",`)
		add("malformed", name+"version twice", up, `{"v":1,`, `{"v":1,"v":1,`)
		add("malformed", name+"version in capitals", up, `{"v":1,`, `{"V":1,`)
		add("malformed", name+"sid twice", up, `{"v":1,`, `{"v":1,"sid":"other",`)
		add("malformed", name+"sid is null", up, `"sid":"`+exampleSID+`"`, `"sid":null`)
		add("malformed", name+"sid is a number", up, `"sid":"`+exampleSID+`"`, `"sid":7`)
		add("malformed", name+"sid is missing", up, `"sid":"`+exampleSID+`"`, `"sid2":""`)
		add("malformed", name+"sid with a space", up, exampleSID, "a b")
		add("malformed", name+"unknown member null", up, `{"v":1,`, `{"v":1,"new":null,`)
		add("malformed", name+"nested too deep", up, `{"v":1,`, `{"v":1,"new":[[[[[[[[]]]]]]]],`)
		list = append(list,
			messageVector{name + "two objects", up, text + text, "malformed"},
			messageVector{name + "more behind", up, text + "\x00", "malformed"},
			messageVector{name + "not closed", up, strings.TrimSuffix(text, "}"), "malformed"},
			messageVector{name + "list", up, "[" + text + "]", "encoding"},
			messageVector{name + "nothing", up, "", "encoding"},
			messageVector{name + "white space in front", up, " " + text, "encoding"},
		)
	}
	add("too_large", "state: too large", ChannelState, `{"v":1,`, `{"v":1,"new":"`+strings.Repeat("x", MaxMessage)+`",`)
	add("malformed", "state: on is a string", ChannelState, `"on":true`, `"on":"true"`)
	add("malformed", "state: on is missing", ChannelState, `"on":true,`, ``)
	add("malformed", "state: on without at", ChannelState, `,"at":"2026-07-01T12:00:05.25Z"`, ``)
	add("ok", "state: time with an offset", ChannelState, `12:00:05.25Z`, `09:00:05.25-03:00`)
	add("malformed", "state: time before 1970", ChannelState, `2026-07-01T12:00:05.25Z`, `1970-01-01T00:00:00+01:00`)
	add("malformed", "state: time without zone", ChannelState, `12:00:05.25Z`, `12:00:05.25`)
	add("malformed", "state: time as a number", ChannelState, `"2026-07-01T12:00:05.25Z"`, `1782907205`)
	add("malformed", "hello: head without hash", ChannelHello, `"head":{"epoch":1,"seq":3,"hash":"`+exampleHead(t, 3).Hash.String()+`"}`, `"head":{"epoch":1,"seq":3}`)
	add("malformed", "hello: head is a list", ChannelHello, `"head":{"epoch":1,"seq":3,"hash":"`+exampleHead(t, 3).Hash.String()+`"}`, `"head":[]`)
	add("malformed", "hello: negative counter", ChannelHello, `"ctr":41`, `"ctr":-1`)
	add("malformed", "hello: counter as a string", ChannelHello, `"ctr":41`, `"ctr":"41"`)
	add("malformed", "hello: unknown clock quality", ChannelHello, `"clock":"synced"`, `"clock":"good"`)
	add("malformed", "hello: device in capitals", ChannelHello, exampleDevice(), strings.ToUpper(exampleDevice()))
	add("malformed", "evt: unknown level", ChannelEvt, `"level":"warn"`, `"level":"fatal"`)
	add("malformed", "evt: detail with capitals", ChannelEvt, `"printer":"epson-80"`, `"Printer":"epson-80"`)
	add("malformed", "evt: detail is a number", ChannelEvt, `"epson-80"`, `80`)
	add("malformed", "evt: detail twice", ChannelEvt, `"printer":"epson-80"`, `"printer":"epson-80","printer":"x"`)
	add("malformed", "tele: counter is negative", ChannelTele, `"charge.paid":94`, `"charge.paid":-94`)
	add("malformed", "tele: gauge is a fraction", ChannelTele, `"rss":19398656`, `"rss":19398656.5`)
	add("malformed", "res: ok contradicts code", ChannelRes, `"ok":true`, `"ok":false`)
	add("ok", "res: code of a newer terminal", ChannelRes, `"code":"done"`, `"code":"later"`)
	add("malformed", "pay-get: asks nothing", ChannelPayGet, `["`+exampleCharge+`"]`, `[]`)
	add("malformed", "pay-get: charges is a string", ChannelPayGet, `["`+exampleCharge+`"]`, `"`+exampleCharge+`"`)
	add("malformed", "pay-get: too many", ChannelPayGet, `"`+exampleCharge+`"`, strings.Repeat(`"x",`, MaxAsked)+`"x"`)
	return list
}

func TestMessageVectors(t *testing.T) {
	golden(t, "messages.json", messageVectors(t))
	names := make(map[string]bool)
	for _, v := range load[[]messageVector](t, "messages.json") {
		if names[v.Name] {
			t.Errorf("two vectors are named %q", v.Name)
		}
		names[v.Name] = true
		got, err := decodeChannel(v.Channel, []byte(v.Text))
		if word := wordOf(err); word != v.Want {
			t.Errorf("%s: got %s (%v), want %s", v.Name, word, err, v.Want)
		}
		if err != nil && !reflect.ValueOf(got).IsZero() {
			t.Errorf("%s: refused, but decoded: %+v", v.Name, got)
		}
	}
}

type payloadVector struct {
	Name    string   `json:"name"`
	Payload string   `json:"payload_hex"`
	Want    string   `json:"want"`
	From    string   `json:"from,omitempty"`
	Entries []string `json:"entries,omitempty"`
}

// payloadVectors are payloads of the channel ledger. What deflate makes may
// differ between versions of its library, so they are written only on demand.
func payloadVectors(t testing.TB) []payloadVector {
	t.Helper()
	b := exampleBatch(t)
	plain := rawBatch(b)
	var lines []string
	for _, e := range b.Entries {
		lines = append(lines, string(e))
	}
	add := func(list []payloadVector, want, name string, payload []byte) []payloadVector {
		v := payloadVector{Name: name, Payload: hex.EncodeToString(payload), Want: want}
		if want == "ok" {
			v.From, v.Entries = b.From.String(), lines
		}
		return append(list, v)
	}
	// One stored block: deflate that everyone makes alike.
	stored := []byte{packed, 1, byte(len(plain)), byte(len(plain) >> 8), ^byte(len(plain)), ^byte(len(plain) >> 8)}
	stored = append(stored, plain...)
	small := deflated(t, plain)
	var list []payloadVector
	list = add(list, "ok", "plain", plain)
	list = add(list, "ok", "deflated", small)
	list = add(list, "ok", "deflated, one stored block", stored)
	list = add(list, "encoding", "deflated, cut off", small[:len(small)-4])
	list = add(list, "encoding", "deflated, a byte behind", append(bytes.Clone(small), 0))
	list = add(list, "encoding", "deflated twice", deflated(t, small))
	list = add(list, "encoding", "zlib header instead of raw deflate", append([]byte{packed, 0x78, 0x9c}, small[1:]...))
	list = add(list, "encoding", "unknown first byte", append([]byte{2}, small[1:]...))
	list = add(list, "too_large", "bomb: one space more than the limit", deflated(t, []byte("{"+strings.Repeat(" ", MaxInflated))))
	list = add(list, "malformed", "deflated spaces, as many as the limit allows", deflated(t, []byte("{"+strings.Repeat(" ", MaxBatchHeader-2)+"\n")))
	list = add(list, "malformed", "entries swapped", append(append(append(bytes.Clone(plain[:bytes.IndexByte(plain, '\n')+1]), b.Entries[1]...), '\n'), append(b.Entries[0], '\n')...))
	list = add(list, "malformed", "last line open", plain[:len(plain)-1])
	list = add(list, "malformed", "count too high", bytes.Replace(plain, []byte(`"count":2`), []byte(`"count":3`), 1))
	list = add(list, "malformed", "carriage returns", bytes.ReplaceAll(plain, []byte("\n"), []byte("\r\n")))
	list = add(list, "version", "version 2", bytes.Replace(plain, []byte(`{"v":1,"sid"`), []byte(`{"v":2,"sid"`), 1))
	return list
}

func TestPayloadVectors(t *testing.T) {
	want := payloadVectors(t)
	if *update {
		golden(t, "batches.json", want)
	}
	got := load[[]payloadVector](t, "batches.json")
	if len(got) != len(want) {
		t.Fatalf("%d vectors in the file, %d in the code: go test ./fleet/wire -update writes it anew", len(got), len(want))
	}
	for i, v := range got {
		payload, err := hex.DecodeString(v.Payload)
		if err != nil {
			t.Fatal(err)
		}
		if v.Name != want[i].Name || v.Want != want[i].Want || !cmp.Equal(v.Entries, want[i].Entries) {
			t.Errorf("vector %d is %q, want %q", i, v.Name, want[i].Name)
		}
		b, err := DecodeBatch(payload)
		if word := wordOf(err); word != v.Want {
			t.Errorf("%s: got %s (%v), want %s", v.Name, word, err, v.Want)
			continue
		}
		var entries []string
		for _, e := range b.Entries {
			entries = append(entries, string(e))
		}
		if !cmp.Equal(entries, v.Entries) || err == nil && b.From.String() != v.From {
			t.Errorf("%s: got %v %q", v.Name, b.From, entries)
		}
	}
}
