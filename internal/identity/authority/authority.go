// Package authority signs the certificates of devices.
package authority

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"

	"github.com/twinfleet/twinfleet/internal/identity/pemfile"
)

const (
	authorityLife = 10 * 365 * 24 * time.Hour
	deviceLife    = 397 * 24 * time.Hour
	clockSkew     = time.Hour // certificates hold from so long ago: clocks differ
)

// ErrAuthority is returned for a certificate or key that cannot sign the certificates of devices.
var ErrAuthority = errors.New("certificate authority")

// Authority signs a certificate for each device. It is safe for concurrent use.
type Authority struct {
	cert  *x509.Certificate
	key   crypto.Signer
	chain [][]byte // what devices send after their own certificates: from cert to below a root
}

// Parse reads an authority's certificate and key, both in PEM; the password, which may be empty, is the key's. The file of the certificate may hold those of
// the authorities above it, too: devices send them with their own, but for a root. Errors match ErrAuthority and never
// hold the key.
func Parse(certs, key []byte, password string) (*Authority, error) {
	all, err := pemfile.Certificates(certs)
	if err != nil {
		return nil, fmt.Errorf("%w: ca: %w", ErrAuthority, err)
	}
	signer, err := pemfile.LoadKey(key, password)
	if err != nil {
		return nil, fmt.Errorf("%w: key: %w", ErrAuthority, err)
	}
	mine := slices.IndexFunc(all, func(c *x509.Certificate) bool {
		public, ok := c.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
		return ok && public.Equal(signer.Public())
	})
	if mine < 0 {
		return nil, fmt.Errorf("%w: the key is of none of the certificates in ca", ErrAuthority)
	}
	a := &Authority{cert: all[mine], key: signer, chain: chainOf(all[mine], all)}
	switch now := time.Now(); {
	case len(a.chain) > pemfile.MostAbove:
		return nil, fmt.Errorf("%w: ca: %d certificates below a root lead to it, and a device sends %d at the most", ErrAuthority, len(a.chain), pemfile.MostAbove)
	case !a.cert.IsCA:
		return nil, fmt.Errorf("%w: the certificate of %q may not sign others; it needs CA:TRUE", ErrAuthority, a.cert.Subject.CommonName)
	case now.After(a.cert.NotAfter):
		return nil, fmt.Errorf("%w: the certificate ended on %s", ErrAuthority, a.cert.NotAfter.Format(time.DateOnly))
	case now.Before(a.cert.NotBefore):
		return nil, fmt.Errorf("%w: the certificate begins on %s", ErrAuthority, a.cert.NotBefore.Format(time.DateOnly))
	}
	return a, nil
}

// TLS is the authority as a certificate with its key: first its own, then those above it, without a root.
func (a *Authority) TLS() *tls.Certificate {
	return &tls.Certificate{Certificate: a.chain, PrivateKey: a.key, Leaf: a.cert}
}

// Of is the authority of such a certificate.
func Of(c *tls.Certificate) (*Authority, error) {
	signer, ok := c.PrivateKey.(crypto.Signer)
	if !ok || c.Leaf == nil {
		return nil, fmt.Errorf("%w: it has no key that signs, or no certificate", ErrAuthority)
	}
	return &Authority{cert: c.Leaf, key: signer, chain: c.Certificate}, nil
}

// chainOf is a certificate and those above it, each signed by the next, without a root: who trusts a root has it.
func chainOf(c *x509.Certificate, all []*x509.Certificate) (chain [][]byte) {
	for range all {
		if bytes.Equal(c.RawSubject, c.RawIssuer) {
			return chain
		}
		chain = append(chain, c.Raw)
		above := slices.IndexFunc(all, func(x *x509.Certificate) bool {
			return bytes.Equal(x.RawSubject, c.RawIssuer) && c.CheckSignatureFrom(x) == nil
		})
		if above < 0 {
			return chain
		}
		c = all[above]
	}
	return chain
}

// New makes an authority that lives in memory, for a hub that is told to trust it.
func New() (*Authority, error) {
	made, err := issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: "twinfleet devices"}, NotAfter: time.Now().Add(authorityLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
	}, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: making one: %w", ErrAuthority, err)
	}
	return &Authority{cert: made.Leaf, key: made.PrivateKey.(crypto.Signer)}, nil
}

// Certificate is the authority's own, for a hub to trust.
func (a *Authority) Certificate() *x509.Certificate { return a.cert }

// Device makes a certificate for a device, with the chain that it sends: its common name is the device id.
func (a *Authority) Device(id string) (tls.Certificate, error) { return issue(deviceTemplate(id), a) }

// SelfSigned makes a certificate that a device signed itself; the hub knows it by its thumbprint, a SHA-256
// digest in hex digits.
func SelfSigned(id string) (cert tls.Certificate, thumbprint string, err error) {
	cert, err = issue(deviceTemplate(id), nil)
	if err != nil {
		return tls.Certificate{}, "", err
	}
	sum := sha256.Sum256(cert.Certificate[0])
	return cert, hex.EncodeToString(sum[:]), nil
}

func deviceTemplate(id string) *x509.Certificate {
	return &x509.Certificate{
		Subject: pkix.Name{CommonName: id}, NotAfter: time.Now().Add(deviceLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
}

// issue makes a key and a certificate for it, signed by an authority or, without one, by itself.
func issue(template *x509.Certificate, by *Authority) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)); err != nil {
		return tls.Certificate{}, err
	}
	template.NotBefore = time.Now().Add(-clockSkew)
	parent, signer := template, crypto.Signer(key)
	if by != nil {
		parent, signer = by.cert, by.key
		if template.NotAfter.After(by.cert.NotAfter) {
			template.NotAfter = by.cert.NotAfter
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("making the certificate of %s: %w", template.Subject.CommonName, err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("making the certificate of %s: %w", template.Subject.CommonName, err)
	}
	made := tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
	if by != nil {
		made.Certificate = append(made.Certificate, by.chain...)
	}
	return made, nil
}
