package identity

import (
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
	"time"
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
	cert *x509.Certificate
	key  crypto.Signer
}

// ParseAuthority reads an authority's certificate and key, both in PEM. Errors match ErrAuthority and never
// hold the key.
func ParseAuthority(cert, key []byte) (*Authority, error) {
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("%w: the files are no certificate with its key in PEM form: %w", ErrAuthority, err)
	}
	signer, ok := pair.PrivateKey.(crypto.Signer)
	switch {
	case !ok:
		return nil, fmt.Errorf("%w: the key cannot sign", ErrAuthority)
	case !pair.Leaf.IsCA:
		return nil, fmt.Errorf("%w: the certificate of %q may not sign others; it needs CA:TRUE", ErrAuthority, pair.Leaf.Subject.CommonName)
	case time.Now().After(pair.Leaf.NotAfter):
		return nil, fmt.Errorf("%w: the certificate ended on %s", ErrAuthority, pair.Leaf.NotAfter.Format(time.DateOnly))
	}
	return &Authority{pair.Leaf, signer}, nil
}

// NewAuthority makes an authority that lives in memory, for a hub that is told to trust it.
func NewAuthority() (*Authority, error) {
	made, err := issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: "twinfleet devices"}, NotAfter: time.Now().Add(authorityLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
	}, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: making one: %w", ErrAuthority, err)
	}
	return &Authority{made.Leaf, made.PrivateKey.(crypto.Signer)}, nil
}

// Certificate is the authority's own, for a hub to trust.
func (a *Authority) Certificate() *x509.Certificate { return a.cert }

// Device makes a certificate for a device: its common name is the device id.
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
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}
