package hub

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"

	"github.com/ssg-safe/agent/redact"
)

// A file with a private key is PEM: PKCS #8, or that under a passphrase.
//
// The body of a protected one is a version byte (1), 16 bytes of salt, 12 of nonce, and
// AES-256-GCM over the PKCS #8 form, with the version and the salt as additional data.
// The key of that is argon2id of the passphrase with the second setting that RFC 9106
// recommends: 3 passes, 64 MiB, 4 lanes. Version and settings go together, so that no
// file can ask for more work.
const (
	pemType      = "PRIVATE KEY"
	pemProtected = "SSG-HUB PROTECTED PRIVATE KEY"

	protectedVersion = 1
	saltLen          = 16
	nonceLen         = 12

	// MinPassphrase is the least length of a passphrase, in characters: whoever has the
	// file can try as long as he likes.
	MinPassphrase = 12
	maxKeyFile    = 4096
)

var (
	// ErrProtected: the key is under a passphrase, and none was asked for.
	ErrProtected = errors.New("the key is under a passphrase")
	// ErrPassphrase: it is not the key's passphrase, or the file was changed.
	ErrPassphrase = errors.New("not the passphrase of this key")
	// ErrWeak: the passphrase is too short.
	ErrWeak = fmt.Errorf("a passphrase has at least %d characters; four words that have nothing to do with each other are a good one", MinPassphrase)
)

// stretch is the key that a passphrase stands for. It takes 64 MiB for a moment.
func stretch(passphrase redact.Secret, salt []byte) []byte {
	return argon2.IDKey([]byte(passphrase.Reveal()), salt, 3, 64<<10, 4, 32)
}

// encodeKey is the content of a key's file; without a passphrase it is not protected.
func encodeKey(key ed25519.PrivateKey, passphrase redact.Secret) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	if passphrase == "" {
		return pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der}), nil
	}
	if utf8.RuneCountInString(passphrase.Reveal()) < MinPassphrase {
		return nil, ErrWeak
	}
	body := make([]byte, 1+saltLen+nonceLen)
	rand.Read(body[1:]) // never fails
	body[0] = protectedVersion
	head, nonce := body[:1+saltLen], body[1+saltLen:]
	aead, err := gcm(stretch(passphrase, head[1:]))
	if err != nil {
		return nil, err
	}
	body = aead.Seal(body, nonce, der, slices.Clone(head))
	return pem.EncodeToMemory(&pem.Block{Type: pemProtected, Bytes: body}), nil
}

// decodeKey reads the content of a key's file. stretched gives the key of a protected
// one for its salt; nil: such a file is refused with ErrProtected.
func decodeKey(raw []byte, stretched func(salt []byte) ([]byte, error)) (ed25519.PrivateKey, error) {
	block, rest := pem.Decode(raw)
	if block == nil || len(rest) > 0 || len(block.Headers) > 0 {
		return nil, errors.New("it holds no key")
	}
	der := block.Bytes
	switch block.Type {
	case pemType:
	case pemProtected:
		if len(der) < 1+saltLen+nonceLen || der[0] != protectedVersion {
			return nil, errors.New("it holds no key that this version can read")
		}
		if stretched == nil {
			return nil, ErrProtected
		}
		head, nonce, sealed := der[:1+saltLen], der[1+saltLen:1+saltLen+nonceLen], der[1+saltLen+nonceLen:]
		wrap, err := stretched(head[1:])
		if err != nil {
			return nil, err
		}
		aead, err := gcm(wrap)
		if err != nil {
			return nil, err
		}
		if der, err = aead.Open(nil, nonce, sealed, head); err != nil {
			return nil, ErrPassphrase
		}
	default:
		return nil, errors.New("it holds no key")
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, errors.New("it holds no key")
	}
	private, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, errors.New("it holds no Ed25519 key")
	}
	return private, nil
}

func gcm(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// ReadKey reads a private key from a file that its owner alone can read. One under a
// passphrase is refused with [ErrProtected].
func ReadKey(path string) (ed25519.PrivateKey, error) { return OpenKey(path, nil) }

// OpenKey is ReadKey, also of a key under a passphrase, which it asks for then. Errors:
// [ErrPassphrase], that of ask, and what is wrong with the file.
func OpenKey(path string, ask func() (redact.Secret, error)) (ed25519.PrivateKey, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s can be read by others (mode %04o); the key may have leaked: make a new one, or chmod 600 it", path, info.Mode().Perm())
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return nil, err
	}
	var stretched func([]byte) ([]byte, error)
	if ask != nil {
		stretched = func(salt []byte) ([]byte, error) {
			passphrase, err := ask()
			if err != nil {
				return nil, err
			}
			return stretch(passphrase, salt), nil
		}
	}
	key, err := decodeKey(raw, stretched)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// WriteKey makes a new file with a private key, mode 0600, whole or not at all. It
// replaces nothing. With a passphrase the key is under that; [ErrWeak] where that is
// too short.
func WriteKey(path string, key ed25519.PrivateKey, passphrase redact.Secret) error {
	// A link does not replace a key that is there.
	return writeKey(path, key, passphrase, os.Link)
}

// ReplaceKey writes a private key over the file that has it, whole or not at all, under
// a passphrase, or another one than before.
func ReplaceKey(path string, key ed25519.PrivateKey, passphrase redact.Secret) error {
	return writeKey(path, key, passphrase, os.Rename)
}

func writeKey(path string, key ed25519.PrivateKey, passphrase redact.Secret, place func(from, to string) error) error {
	text, err := encodeKey(key, passphrase)
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(text)
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := place(tmp.Name(), path); errors.Is(err, fs.ErrExist) {
		return &fs.PathError{Op: "make", Path: path, Err: fs.ErrExist}
	} else if err != nil {
		return err
	}
	return syncDir(dir)
}
