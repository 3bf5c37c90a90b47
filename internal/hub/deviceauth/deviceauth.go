// Package deviceauth checks that a device or a module is who it says it is: by a token, or by a certificate.
package deviceauth

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/entity"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/sas"
)

// Checker checks devices. The zero Checker knows no policies and no authorities.
type Checker struct {
	// Policy finds the keys of a shared access policy with the right DeviceConnect; nil for no policies.
	Policy func(name string) (primary, secondary sas.Key, ok bool)
	// ClientCAs signed the certificates of devices that authenticate by certificateAuthority; nil for none.
	ClientCAs *x509.CertPool
}

// Token checks the shared access signature that a device or a module shows, known by its client id, and returns it. Its
// resource must be the identity, or what the identity is part of, on a host; with an empty one on any. The credentials are
// those of the identity itself: a module has keys of its own, and its device's do not serve.
func (c Checker) Token(host, client string, creds registry.Credentials, signature string) (sas.Token, error) {
	token, err := sas.Parse(signature)
	if err != nil {
		return sas.Token{}, err
	}
	path := entity.Path(client)
	if covered := host == "" && token.CoversPath(path) || host != "" && token.Covers(host+path); !covered {
		return sas.Token{}, errors.New("the token is for another resource")
	}
	keys := []sas.Key{creds.Primary, creds.Secondary}
	if token.Policy != "" {
		if c.Policy == nil {
			return sas.Token{}, iothub.ErrUnauthorized
		}
		primary, secondary, ok := c.Policy(token.Policy)
		if !ok {
			return sas.Token{}, iothub.ErrUnauthorized.With("the policy %q may not connect devices", token.Policy)
		}
		keys = []sas.Key{primary, secondary}
	}
	return token, token.Verify(time.Now(), keys...)
}

// Certificate accepts a chain of client certificates whose first has the identity's thumbprint, or was signed by a
// trusted authority for the client id: the device id, or device/module.
func (c Checker) Certificate(client string, creds registry.Credentials, chain []*x509.Certificate) error {
	if len(chain) == 0 {
		return iothub.ErrUnauthorized.With("neither a token nor a certificate")
	}
	leaf := chain[0]
	switch creds.AuthType {
	case registry.AuthSelfSigned:
		short, long := sha1.Sum(leaf.Raw), sha256.Sum256(leaf.Raw)
		for _, want := range []string{creds.Thumbprints.Primary, creds.Thumbprints.Secondary} {
			if strings.EqualFold(want, hex.EncodeToString(short[:])) || strings.EqualFold(want, hex.EncodeToString(long[:])) {
				return nil
			}
		}
		return iothub.ErrUnauthorized.With("thumbprint does not match configuration")
	case registry.AuthCertificateAuthority:
		if c.ClientCAs == nil || leaf.Subject.CommonName != client {
			return iothub.ErrUnauthorized.With("the certificate is not for this device")
		}
		between := x509.NewCertPool()
		for _, cert := range chain[1:] {
			between.AddCert(cert)
		}
		_, err := leaf.Verify(x509.VerifyOptions{
			Roots: c.ClientCAs, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		})
		return err
	default:
		return iothub.ErrUnauthorized.With("the device authenticates by %s", creds.AuthType)
	}
}
