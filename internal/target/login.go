package target

import (
	"context"
	"crypto/tls"
	"net"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/scenario"
)

// logIn has the options of a connection say what a device of a broker says of itself: the i-th of its group.
func (t *Target) logIn(o *link.Options, g *scenario.Group, i, index int) {
	login := g.Login(i)
	if t.devices != nil {
		login = t.devices.login(index, login)
	}
	o.ClientID, o.Username = login.ClientID, login.Username
	if !login.Password.IsZero() {
		o.Password = login.Password.Reveal
	}
}

// login is what a device of a broker says of itself: what another process has handed to this one, or else its own.
func (all *Identities) login(index int, own scenario.Login) scenario.Login {
	if all.here != nil {
		if handed := all.here.proof(index).login; handed != nil {
			return *handed
		}
	}
	return own
}

// proven dials over TLS with the certificate of a device of a broker; nil for one that has none. A certificate that has to be read is read here,
// before the connection begins that is measured: it would be counted as the target's time.
func (t *Target) proven(bare link.Dialer, at *place, g *scenario.Group, i, index int) link.Dialer {
	switch {
	case t.devices == nil || at.certTLS == nil:
		return nil
	case t.devices.certified(index):
		return t.certified(bare, at.certTLS, index)
	case t.devices.here == nil && g.Certified(i):
		cert, err := g.Certificate(i)
		if err != nil {
			return func(context.Context) (net.Conn, error) { return nil, &certificateError{err} }
		}
		return link.TLS(bare, presenting(at.certTLS, cert))
	}
	return nil
}

// presenting is a configuration with a certificate that is sent whatever authorities the target names: it is for the target to refuse.
func presenting(config *tls.Config, cert *tls.Certificate) *tls.Config {
	config = config.Clone()
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	return config
}

// certificateError is why a device has no certificate to connect with, which it had when the run began.
type certificateError struct{ err error }

func (e *certificateError) Error() string { return e.err.Error() }
func (e *certificateError) Unwrap() error { return e.err }

// Reason is of a bounded set: package metrics/reason shows it.
func (e *certificateError) Reason() string { return "the device's certificate cannot be read any more" }
