package enrollment

import (
	"bytes"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"strings"

	"github.com/twinfleet/twinfleet/internal/iothub/sas"
	"github.com/twinfleet/twinfleet/internal/iothub/timestamp"
)

// X509 is attestation by certificate: of one device, or of those whose certificates an authority signed.
type X509 struct {
	Client  *CertificatePair `json:"clientCertificates,omitempty"`  // of an individual enrollment
	Signing *CertificatePair `json:"signingCertificates,omitempty"` // of a group
	CAs     *CAReferences    `json:"caReferences,omitempty"`        // of a group: names of the service's authorities
}

// CAReferences name certificate authorities of the service.
type CAReferences struct {
	Primary   string `json:"primary,omitempty"`   // required
	Secondary string `json:"secondary,omitempty"` // empty for none
}

// CertificatePair is two certificates; either serves.
type CertificatePair struct {
	Primary   *Certificate `json:"primary,omitempty"`   // required
	Secondary *Certificate `json:"secondary,omitempty"` // nil for none
}

// each calls f for those of the pair that there are.
func (p *CertificatePair) each(f func(*Certificate)) {
	if p == nil {
		return
	}
	for _, c := range []*Certificate{p.Primary, p.Secondary} {
		if c != nil {
			f(c)
		}
	}
}

// All are the certificates of the pair. A nil pair has none.
func (p *CertificatePair) All() (all []*x509.Certificate) {
	p.each(func(c *Certificate) { all = append(all, c.parsed) })
	return all
}

// Certificate is a certificate as clients write it, and what is in it as they read it.
type Certificate struct {
	Text string `json:"certificate,omitempty"` // PEM, with or without line ends, or base64 of DER
	Info *Info  `json:"info,omitempty"`        // the service sets it

	parsed *x509.Certificate
}

// Info is what is in a certificate.
type Info struct {
	Subject   string         `json:"subjectName"`      // the distinguished name
	SHA1      string         `json:"sha1Thumbprint"`   // upper-case hexadecimal
	SHA256    string         `json:"sha256Thumbprint"` // upper-case hexadecimal
	Issuer    string         `json:"issuerName"`       // the distinguished name
	NotBefore timestamp.Time `json:"notBeforeUtc"`     // it is good from then on
	NotAfter  timestamp.Time `json:"notAfterUtc"`      // it is good until then
	Serial    string         `json:"serialNumber"`     // upper-case hexadecimal
	Version   int            `json:"version"`          // of X.509, as 3
}

// Key sizes in bytes (concepts-symmetric-key-attestation).
const (
	madeKey     = 64 // of keys that the service makes
	shortestKey = 16
	longestKey  = 64
)

// NewKeys makes a pair of keys as the service does.
func NewKeys() *SymmetricKeys { return &SymmetricKeys{Primary: newKey(), Secondary: newKey()} }

func newKey() sas.Key {
	var raw [madeKey]byte
	rand.Read(raw[:]) // never fails, by its own documentation
	key, err := sas.ParseKey(base64.StdEncoding.EncodeToString(raw[:]))
	if err != nil {
		panic("base64 does not read what it wrote: " + err.Error())
	}
	return key
}

func (a *Attestation) check(old *Attestation, group bool, authorities func(string) bool) error {
	switch {
	case strings.EqualFold(a.Type, TypeSymmetricKey):
		a.Type, a.X509 = TypeSymmetricKey, nil
		return a.checkKeys(old)
	case strings.EqualFold(a.Type, TypeX509):
		a.Type, a.SymmetricKey = TypeX509, nil
		var before *X509
		if old != nil {
			before = old.X509
		}
		return a.X509.check(before, group, authorities)
	case strings.EqualFold(a.Type, "tpm"):
		return refuse("attestation: the embedded service has no TPM attestation")
	default:
		return refuse("attestation.type is symmetricKey or x509")
	}
}

func (a *Attestation) checkKeys(old *Attestation) error {
	keys := SymmetricKeys{}
	if a.SymmetricKey != nil {
		keys = *a.SymmetricKey
	}
	if old != nil && old.SymmetricKey != nil && keys.Primary.IsZero() && keys.Secondary.IsZero() {
		keys = *old.SymmetricKey
	}
	for _, k := range []*sas.Key{&keys.Primary, &keys.Secondary} {
		if k.IsZero() {
			*k = newKey()
		}
		if raw, err := base64.StdEncoding.DecodeString(k.Base64()); err != nil || len(raw) < shortestKey || len(raw) > longestKey {
			return refuse("attestation.symmetricKey: a key has %d to %d bytes", shortestKey, longestKey)
		}
	}
	a.SymmetricKey = &keys
	return nil
}

func (x *X509) check(old *X509, group bool, authorities func(string) bool) error {
	switch {
	case x == nil:
		return refuse("attestation.x509 is missing")
	case !group && (x.Signing != nil || x.CAs != nil):
		return refuse("attestation.x509: an individual enrollment has clientCertificates")
	case group && x.Client != nil:
		return refuse("attestation.x509: an enrollment group has signingCertificates or caReferences")
	}
	if old == nil {
		old = &X509{}
	}
	if x.CAs != nil {
		if x.CAs.Primary == "" {
			return refuse("attestation.x509.caReferences.primary is missing")
		}
		for _, name := range []string{x.CAs.Primary, x.CAs.Secondary} {
			if name != "" && !authorities(name) {
				return refuse("attestation.x509.caReferences: there is no certificate authority %q", name)
			}
		}
		x.Signing = nil
		return nil
	}
	pair, before := x.Client, old.Client
	if group {
		pair, before = x.Signing, old.Signing
	}
	if pair == nil || pair.Primary == nil {
		return refuse("attestation.x509: a primary certificate is missing")
	}
	return errors.Join(pair.Primary.check(before, group), pair.Secondary.check(before, group))
}

// check reads the certificate, or finds it in the pair before by the thumbprint that the client read.
func (c *Certificate) check(before *CertificatePair, authority bool) error {
	if c == nil {
		return nil
	}
	if c.Text == "" && c.Info != nil {
		before.each(func(old *Certificate) {
			if strings.EqualFold(old.Info.SHA256, c.Info.SHA256) {
				c.Text = old.Text
			}
		})
	}
	if err := c.read(); err != nil {
		return refuse("attestation.x509: %v", err)
	}
	if authority && !c.parsed.IsCA {
		return refuse("attestation.x509: the certificate of %s is no authority's", c.parsed.Subject)
	}
	return nil
}

var errCertificate = errors.New("a certificate is neither PEM nor base64 of DER")

// read parses the text and fills in what is in it.
func (c *Certificate) read() error {
	der := []byte(nil)
	text := strings.TrimSpace(c.Text)
	if block, _ := pem.Decode([]byte(text)); block != nil {
		der = block.Bytes
	} else {
		// PEM without line ends is no PEM; what is between its lines is base64 all the same.
		text = strings.TrimSuffix(strings.TrimPrefix(text, "-----BEGIN CERTIFICATE-----"), "-----END CERTIFICATE-----")
		text = strings.Join(strings.Fields(text), "")
		var err error
		if der, err = base64.StdEncoding.DecodeString(text); err != nil || len(der) == 0 {
			return errCertificate
		}
		// Azure's portal and some SDKs encode the PEM text once more.
		if block, _ := pem.Decode(bytes.TrimSpace(der)); block != nil {
			der = block.Bytes
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return errCertificate
	}
	short, long := sha1.Sum(der), sha256.Sum256(der)
	c.parsed, c.Text = cert, base64.StdEncoding.EncodeToString(der)
	c.Info = &Info{
		Subject: cert.Subject.String(), Issuer: cert.Issuer.String(), SHA1: strings.ToUpper(hex.EncodeToString(short[:])),
		SHA256: strings.ToUpper(hex.EncodeToString(long[:])), NotBefore: timestamp.Time{Time: cert.NotBefore}, NotAfter: timestamp.Time{Time: cert.NotAfter},
		Serial: strings.ToUpper(cert.SerialNumber.Text(16)), Version: cert.Version,
	}
	return nil
}

// withoutCertificates leaves of certificates what is in them.
func (a Attestation) withoutCertificates() Attestation {
	if a.X509 == nil {
		return a
	}
	hide := func(p *CertificatePair) *CertificatePair {
		if p == nil {
			return nil
		}
		shown := *p
		for _, c := range []**Certificate{&shown.Primary, &shown.Secondary} {
			if *c != nil {
				*c = &Certificate{Info: (*c).Info}
			}
		}
		return &shown
	}
	a.X509 = &X509{Client: hide(a.X509.Client), Signing: hide(a.X509.Signing), CAs: a.X509.CAs}
	return a
}

// Decode reads an enrollment that was kept, with its certificates.
func Decode(b []byte) (*Enrollment, error) {
	e := &Enrollment{}
	if err := json.Unmarshal(b, e); err != nil {
		return nil, err
	}
	if x := e.Attestation.X509; x != nil {
		var err error
		for _, pair := range []*CertificatePair{x.Client, x.Signing} {
			pair.each(func(c *Certificate) { err = errors.Join(err, c.read()) })
		}
		return e, err
	}
	return e, nil
}

// Thumbprint is the SHA-256 of a certificate, as identities at the hub have it.
func Thumbprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return strings.ToUpper(hex.EncodeToString(sum[:]))
}
