// Package keypair has certificates in files that are renewed while the program
// runs: whoever connects next gets the new one, and nothing needs to be restarted.
//
//	pair, err := keypair.Load(certificate, key, log)
//	server := &tls.Config{GetCertificate: pair.Server}
//	client := &tls.Config{GetClientCertificate: pair.Client}
//
// Both files are looked at (not read) at each handshake that needs the certificate,
// and read when either has changed. While the two do not fit each other, as between
// the writing of one and of the other, or cannot be read, the pair before is used
// further, and the log says so, once for each change.
package keypair

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// Pair is a certificate with its private key. It is safe for concurrent use.
type Pair struct {
	certificate, key string // paths
	log              *slog.Logger

	mu    sync.Mutex // guards what follows
	tried [2]os.FileInfo
	pair  *tls.Certificate
}

// Load reads a certificate, with those of the authorities between, and its private
// key from files in PEM form. The logger may be nil.
func Load(certificate, key string, log *slog.Logger) (*Pair, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	p := &Pair{certificate: certificate, key: key, log: log}
	p.tried = p.look()
	pair, err := p.read()
	p.pair = pair
	return p, err
}

// Server is for tls.Config.GetCertificate. Its error is always nil.
func (p *Pair) Server(*tls.ClientHelloInfo) (*tls.Certificate, error) { return p.Current(), nil }

// Client is for tls.Config.GetClientCertificate. Its error is always nil.
func (p *Pair) Client(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return p.Current(), nil
}

// Current is the pair in the files, or the last one there that could be used.
func (p *Pair) Current() *tls.Certificate {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.look()
	if same(now[0], p.tried[0]) && same(now[1], p.tried[1]) {
		return p.pair
	}
	p.tried = now // before they are read: what changes meanwhile is another change
	pair, err := p.read()
	if err != nil {
		p.log.Warn("the files of a certificate have changed and cannot be used: the one before is used further", "err", err,
			"certificate", p.certificate, "private_key", p.key, "until", p.pair.Leaf.NotAfter.Format(time.RFC3339))
		return p.pair
	}
	p.log.Info("a new certificate is used", "certificate", p.certificate, "until", pair.Leaf.NotAfter.Format(time.RFC3339))
	p.pair = pair
	return pair
}

func (p *Pair) read() (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(p.certificate, p.key)
	if err != nil {
		return nil, fmt.Errorf("certificate %s with key %s: %w", p.certificate, p.key, err)
	}
	return &pair, nil
}

// look is what the files look like from outside; nil for one that is not there.
func (p *Pair) look() (now [2]os.FileInfo) {
	for i, path := range []string{p.certificate, p.key} {
		if info, err := os.Stat(path); err == nil {
			now[i] = info
		}
	}
	return now
}

func same(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == b
	}
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}
