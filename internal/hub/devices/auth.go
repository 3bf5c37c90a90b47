package devices

import (
	"crypto/x509"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/events"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/entity"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
)

// Claim is what somebody shows who says to be a device or a module.
type Claim struct {
	Client string // the device id, or device/module
	// Host is the hub's name as the client knows it, which a token's resource must name; empty for any.
	Host  string
	Token string              // a shared access signature; empty for none: the certificates decide
	Chain []*x509.Certificate // client certificates of the connection, the device's own first; only looked at without a token
}

// Proof is who somebody has shown to be. The zero Proof is nobody.
type Proof struct {
	Expiry time.Time   // when what was shown is no longer good; zero for never
	Auth   events.Auth // how it was shown, as readers of what it sends see it

	creds registry.Credentials // against which it was checked
}

// Authenticate checks a claim. Errors: those of Backend.Credentials for an unknown identity, iothub.ErrDeviceDisabled, and what is wrong
// with the token (sas) or the certificate.
func (t *Table) Authenticate(c Claim) (Proof, error) {
	creds, err := t.opts.Backend.Credentials(c.Client)
	if err != nil {
		return Proof{}, err
	}
	if !creds.Enabled {
		return Proof{}, iothub.ErrDeviceDisabled
	}
	p := Proof{creds: creds}
	module := entity.IsModule(c.Client)
	if c.Token == "" {
		p.Auth = events.DeviceX509
		if module {
			p.Auth = events.ModuleX509
		}
		return p, t.auth.Certificate(c.Client, creds, c.Chain)
	}
	token, err := t.auth.Token(c.Host, c.Client, creds, c.Token)
	p.Expiry = token.Expiry
	switch {
	case token.Policy != "":
		p.Auth = events.HubSAS
	case module:
		p.Auth = events.ModuleSAS
	}
	return p, err
}

// Still is Authenticate for a claim that was proven before: with little to do while neither the identity has changed nor what it showed
// has expired.
func (t *Table) Still(c Claim, p Proof) (Proof, error) {
	creds, err := t.opts.Backend.Credentials(c.Client)
	if err == nil && creds == p.creds && (p.Expiry.IsZero() || time.Now().Before(p.Expiry)) {
		return p, nil
	}
	return t.Authenticate(c)
}
