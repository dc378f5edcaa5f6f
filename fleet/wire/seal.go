package wire

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/hpke"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"maps"
	"math/big"
	"slices"
)

// What only the hub may read is sealed to the keys that the terminal has pinned (HPKE,
// RFC 9180: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20Poly1305). The X25519 key is
// the Ed25519 key that signs, in its other form (RFC 7748, section 4.1), as age does with
// keys of SSH: so whoever has pinned a hub needs no second key, and a rotation is one.

// kidSize is how many bytes of its hash name a key.
const kidSize = 8

// Seal seals a text to each of the keys: for each the first 8 bytes of the key's hash, the
// length of what follows in two bytes, big-endian, the encapsulated key and the ciphertext.
// context is what it belongs to; whoever opens it must name the same. Error: ErrKey,
// ErrTooLarge.
func (k Keys) Seal(context string, text []byte) ([]byte, error) {
	var all []byte
	for _, kid := range slices.Sorted(maps.Keys(k)) {
		sealed, err := sealTo(k[kid], context, text)
		if err != nil {
			return nil, fmt.Errorf("seal to %s: %w", kid, err)
		}
		if all = append(all, keyHash(k[kid])...); len(all)+2+len(sealed) > MaxSealed {
			return nil, fmt.Errorf("seal: %w: %d bytes", ErrTooLarge, len(text))
		}
		all = append(binary.BigEndian.AppendUint16(all, uint16(len(sealed))), sealed...)
	}
	return all, nil
}

func keyHash(pub ed25519.PublicKey) []byte {
	sum := sha256.Sum256(pub)
	return sum[:kidSize]
}

func sealTo(pub ed25519.PublicKey, context string, text []byte) ([]byte, error) {
	public, err := montgomery(pub)
	if err != nil {
		return nil, err
	}
	recipient, err := hpke.NewDHKEMPublicKey(public)
	if err != nil {
		return nil, err
	}
	return hpke.Seal(recipient, hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), []byte(context), text)
}

// OpenSealed opens what [Keys.Seal] sealed, with whichever of the hub's private keys it
// is for. Error: ErrSealed.
func OpenSealed(keys []ed25519.PrivateKey, context string, sealed []byte) ([]byte, error) {
	if len(sealed) > MaxSealed {
		return nil, fmt.Errorf("%w: %d bytes", ErrSealed, len(sealed))
	}
	for len(sealed) > 0 {
		if len(sealed) < kidSize+2 {
			return nil, fmt.Errorf("%w: cut off", ErrSealed)
		}
		kid, rest := sealed[:kidSize], sealed[kidSize+2:]
		n := int(binary.BigEndian.Uint16(sealed[kidSize:]))
		if len(rest) < n {
			return nil, fmt.Errorf("%w: cut off", ErrSealed)
		}
		for _, key := range keys {
			if len(key) == ed25519.PrivateKeySize && bytes.Equal(keyHash(key.Public().(ed25519.PublicKey)), kid) {
				return openWith(key, context, rest[:n])
			}
		}
		sealed = rest[n:]
	}
	return nil, fmt.Errorf("%w: it is for none of the hub's keys", ErrSealed)
}

func openWith(key ed25519.PrivateKey, context string, sealed []byte) ([]byte, error) {
	digest := sha512.Sum512(key.Seed())
	private, err := ecdh.X25519().NewPrivateKey(digest[:32])
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSealed, err)
	}
	recipient, err := hpke.NewDHKEMPrivateKey(private)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSealed, err)
	}
	text, err := hpke.Open(recipient, hpke.HKDFSHA256(), hpke.ChaCha20Poly1305(), []byte(context), sealed)
	if err != nil {
		return nil, ErrSealed
	}
	return text, nil
}

// prime25519 is the prime 2^255 - 19.
var prime25519 = new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))

// montgomery is the X25519 form of an Ed25519 key: u = (1+y)/(1-y).
func montgomery(pub ed25519.PublicKey) (*ecdh.PublicKey, error) {
	if len(pub) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("%w: public key of %d bytes", ErrKey, len(pub))
	}
	le := slices.Clone(pub)
	le[31] &= 0x7f // the sign of x
	slices.Reverse(le)
	y := new(big.Int).SetBytes(le)
	one := big.NewInt(1)
	below := new(big.Int).ModInverse(new(big.Int).Mod(new(big.Int).Sub(one, y), prime25519), prime25519)
	if below == nil {
		return nil, fmt.Errorf("%w: it is no key", ErrKey)
	}
	u := new(big.Int).Mul(y.Add(y, one), below)
	raw := u.Mod(u, prime25519).FillBytes(make([]byte, 32))
	slices.Reverse(raw)
	return ecdh.X25519().NewPublicKey(raw)
}
