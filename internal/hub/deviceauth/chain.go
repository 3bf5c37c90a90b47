package deviceauth

import (
	"crypto/tls"
	"crypto/x509"
)

// Chain is the certificates that the client of a connection showed, its own first; none when it showed none, or speaks in clear. A
// connection may be wrapped in others that have a method Unwrap() any.
func Chain(nc any) []*x509.Certificate {
	for nc != nil {
		if t, ok := nc.(*tls.Conn); ok {
			return t.ConnectionState().PeerCertificates
		}
		w, ok := nc.(interface{ Unwrap() any })
		if !ok {
			return nil
		}
		nc = w.Unwrap()
	}
	return nil
}
