// Package attest finds the enrollment that admits a device, by what the device shows: a token signed with a key of its own
// or derived from a group's, or a certificate, its own or signed by a group's authority.
package attest

import (
	"crypto/x509"
	"errors"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/dps/enrollment"
	"github.com/twinfleet/twinfleet/internal/iothub/dps"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
)

// Enrollments is where enrollments are found.
type Enrollments interface {
	// Enrollment finds an individual enrollment or a group; nil for none.
	Enrollment(group bool, id string) *enrollment.Enrollment
	// Groups are the groups of a type of attestation.
	Groups(attestation string) []*enrollment.Enrollment
}

// ErrRefused is the class of errors for devices that no enrollment admits. Their texts hold nothing secret, and are not for
// the device: the service does not say whether an enrollment exists.
var ErrRefused = errors.New("no enrollment admits the device")

func refused(why string) error { return errors.Join(ErrRefused, errors.New(why)) }

// Device is who wants to register, and what it shows.
type Device struct {
	IDScope        string              // as it wrote it
	RegistrationID string              // as it wrote it
	Token          string              // empty for a device that shows a certificate
	Chain          []*x509.Certificate // leaf first; empty for a device that shows a token
}

// Admission is an enrollment that admits a device, and with what the device proves who it is at its hub.
type Admission struct {
	Enrollment *enrollment.Enrollment // never nil once admitted
	// Authentication is that of the identity at the hub: the keys of the device, or the thumbprint of its certificate.
	Authentication registry.Authentication
}

// X509 reports whether the device showed a certificate.
func (a Admission) X509() bool { return a.Enrollment.Attestation.Type == enrollment.TypeX509 }

// Checker finds enrollments.
type Checker struct {
	IDScope     string      // of the service
	Enrollments Enrollments // required
	// Authority finds a certificate authority that groups name in caReferences; nil for none.
	Authority func(name string) *x509.Certificate
}

// Admit finds the enrollment that admits a device. Disabled ones count: whoever asks must look. Errors match ErrRefused.
func (c Checker) Admit(d Device, now time.Time) (Admission, error) {
	switch {
	case d.IDScope != c.IDScope:
		return Admission{}, refused("another id scope")
	case d.Token != "":
		return c.token(d, now)
	case len(d.Chain) > 0:
		return c.certificate(d, now)
	default:
		return Admission{}, refused("neither a token nor a certificate")
	}
}

func (c Checker) token(d Device, now time.Time) (Admission, error) {
	token, err := sas.Parse(d.Token)
	if err != nil {
		return Admission{}, refused(err.Error())
	}
	if token.Policy != "" && token.Policy != dps.TokenPolicy {
		return Admission{}, refused("the token's skn is another than " + dps.TokenPolicy)
	}
	if !strings.EqualFold(token.Resource, dps.Resource(d.IDScope, d.RegistrationID)) {
		return Admission{}, refused("the token is for another registration")
	}
	if e := c.Enrollments.Enrollment(false, d.RegistrationID); e != nil {
		if e.Attestation.Type != enrollment.TypeSymmetricKey {
			return Admission{}, refused("the individual enrollment wants a certificate")
		}
		primary, secondary := e.Attestation.Keys()
		if err := token.Verify(now, primary, secondary); err != nil {
			return Admission{}, refused(err.Error())
		}
		return withKeys(e, primary, secondary), nil
	}
	err = sas.ErrSignature
	for _, g := range c.Enrollments.Groups(enrollment.TypeSymmetricKey) {
		primary, secondary := g.Attestation.Keys()
		primary, secondary = dps.DeriveKey(primary, d.RegistrationID), dps.DeriveKey(secondary, d.RegistrationID)
		if err = token.Verify(now, primary, secondary); err == nil {
			return withKeys(g, primary, secondary), nil
		}
	}
	return Admission{}, refused(err.Error())
}

func withKeys(e *enrollment.Enrollment, primary, secondary sas.Key) Admission {
	return Admission{e, registry.Authentication{
		Type: registry.AuthSAS, SymmetricKey: registry.SymmetricKeys{Primary: primary, Secondary: secondary},
	}}
}

// certificate finds the enrollment of a certificate: an individual one, else the group whose authority is the nearest to
// the leaf (concepts-x509-attestation).
func (c Checker) certificate(d Device, now time.Time) (Admission, error) {
	leaf := d.Chain[0]
	if !strings.EqualFold(leaf.Subject.CommonName, d.RegistrationID) {
		return Admission{}, refused("the certificate is for another registration")
	}
	if e := c.Enrollments.Enrollment(false, d.RegistrationID); e != nil {
		if x := e.Attestation.X509; x != nil {
			for _, cert := range x.Client.All() {
				if cert.Equal(leaf) && valid(leaf, now) {
					return withThumbprint(e, leaf), nil
				}
			}
		}
		return Admission{}, refused("the certificate is not the individual enrollment's")
	}
	groups := c.Enrollments.Groups(enrollment.TypeX509)
	for i, cert := range d.Chain {
		if !valid(cert, now) {
			return Admission{}, refused("a certificate has expired or is not yet valid")
		}
		for _, g := range groups {
			for _, authority := range c.authorities(g) {
				if signed(cert, authority) && valid(authority, now) {
					return withThumbprint(g, leaf), nil
				}
			}
		}
		if i+1 == len(d.Chain) || !signed(cert, d.Chain[i+1]) {
			break
		}
	}
	return Admission{}, refused("no enrollment has an authority of the certificate")
}

// authorities are the certificates of a group, those that it names included.
func (c Checker) authorities(g *enrollment.Enrollment) []*x509.Certificate {
	x := g.Attestation.X509
	if x == nil {
		return nil
	}
	all := x.Signing.All()
	if x.CAs != nil && c.Authority != nil {
		for _, name := range []string{x.CAs.Primary, x.CAs.Secondary} {
			if cert := c.Authority(name); name != "" && cert != nil {
				all = append(all, cert)
			}
		}
	}
	return all
}

func valid(cert *x509.Certificate, now time.Time) bool {
	return !now.Before(cert.NotBefore) && !now.After(cert.NotAfter)
}

// signed reports whether an authority signed a certificate. Names are compared first: a signature costs more.
func signed(cert, authority *x509.Certificate) bool {
	return string(cert.RawIssuer) == string(authority.RawSubject) && cert.CheckSignatureFrom(authority) == nil
}

func withThumbprint(e *enrollment.Enrollment, leaf *x509.Certificate) Admission {
	thumbprint := enrollment.Thumbprint(leaf)
	return Admission{e, registry.Authentication{
		Type: registry.AuthSelfSigned, Thumbprint: registry.Thumbprints{Primary: thumbprint, Secondary: thumbprint},
	}}
}
