package deviceauth

import (
	"crypto/tls"
	"crypto/x509"
)

// TLS finds the TLS in a connection, which may be wrapped in others that have a method Unwrap() any; nil for one in clear.
func TLS(nc any) *tls.Conn {
	for nc != nil {
		if t, ok := nc.(*tls.Conn); ok {
			return t
		}
		w, ok := nc.(interface{ Unwrap() any })
		if !ok {
			return nil
		}
		nc = w.Unwrap()
	}
	return nil
}

// Chain is the certificates that the client of a connection showed, its own first; none when it showed none, or speaks in clear.
func Chain(nc any) []*x509.Certificate {
	if t := TLS(nc); t != nil {
		return t.ConnectionState().PeerCertificates
	}
	return nil
}
