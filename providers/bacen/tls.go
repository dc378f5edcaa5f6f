package bacen

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"strings"

	"github.com/ssg-safe/agent/providers"
)

const keyRemedy = "convert what the bank gave out: openssl pkcs12 -in FILE.p12 -nodes -out bacen.pem"

// TLS reads the certificate files and returns the client's side of TLS: version
// 1.2 or newer, the client certificate (its Leaf is set), and the pinned
// authorities. The error joins a [providers.FieldError] for each problem; none
// quotes a file.
func (c Config) TLS() (*tls.Config, error) {
	var errs []error
	wrong := func(field, problem, remedy string) {
		errs = append(errs, &providers.FieldError{Field: field, Problem: problem, Remedy: remedy})
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CertificateKey != "" {
		chain := []byte(c.CertificateKey.Reveal())
		read := true
		if c.CertificateFile != "" {
			var err error
			if chain, err = os.ReadFile(c.CertificateFile); err != nil {
				wrong("certificate", fileProblem(c.CertificateFile, err), "put the certificate there, readable by the service")
				read = false
			}
		}
		if read {
			if pair, field, problem, remedy := pairOf(chain, []byte(c.CertificateKey.Reveal()), c.CertificateFile != ""); problem != "" {
				wrong(field, problem, remedy)
			} else {
				conf.Certificates = []tls.Certificate{pair}
			}
		}
	}
	if c.CAFile != "" {
		text, err := os.ReadFile(c.CAFile)
		conf.RootCAs = x509.NewCertPool()
		switch {
		case err != nil:
			wrong("ca_file", fileProblem(c.CAFile, err), "put the authority's certificate there, readable by the service")
		case !conf.RootCAs.AppendCertsFromPEM(text):
			wrong("ca_file", "holds no certificate in PEM", "convert it: openssl x509 -inform der -in FILE.cer -out ca.pem")
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return conf, nil
}

// Transport returns a copy of a transport with the client's side of TLS; its
// clock stays. The error is that of [Config.TLS].
func (c Config) Transport(t *http.Transport) (*http.Transport, error) {
	conf, err := c.TLS()
	if err != nil {
		return nil, err
	}
	t = t.Clone()
	if had := t.TLSClientConfig; had != nil {
		conf.Time = had.Time
	}
	t.TLSClientConfig = conf
	return t, nil
}

func fileProblem(name string, err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return name + " does not exist"
	case errors.Is(err, fs.ErrPermission):
		return name + " may not be read by this user"
	}
	return fmt.Sprintf("%s cannot be read: %v", name, err)
}

// pairOf makes the client certificate of its PEM texts; apart says that
// certificate and key come from two places. A problem names the field that has
// it.
func pairOf(chain, key []byte, apart bool) (pair tls.Certificate, field, problem, remedy string) {
	field = "certificate_key"
	if apart && !bytes.Contains(chain, []byte("-----BEGIN CERTIFICATE-----")) {
		return pair, "certificate", "holds no certificate in PEM", keyRemedy
	}
	kind := ""
	for rest := key; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			if kind = block.Type; block.Headers["DEK-Info"] != "" {
				kind = "ENCRYPTED PRIVATE KEY"
			}
			break
		}
	}
	switch {
	case kind == "" && len(key) > 0 && key[0] == 0x30:
		return pair, field, "is PKCS#12 or DER, not PEM", keyRemedy
	case kind == "":
		return pair, field, "holds no private key in PEM", keyRemedy
	case kind == "ENCRYPTED PRIVATE KEY":
		return pair, field, "is encrypted with a password", "take the password off and guard the file by its mode: openssl pkey -in FILE -out bacen.key"
	}
	pair, err := tls.X509KeyPair(chain, key)
	switch {
	case err == nil:
		return pair, "", "", ""
	case strings.Contains(err.Error(), "does not match") || strings.Contains(err.Error(), "type does not match"):
		return pair, field, "does not belong to the certificate", "put both halves of one pair there"
	}
	if !apart {
		return pair, field, "holds no usable certificate beside the key", "name the certificate's file in certificate, or put both into one file"
	}
	return pair, field, "cannot be used: " + err.Error(), keyRemedy
}
