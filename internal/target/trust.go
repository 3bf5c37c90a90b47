package target

import (
	"crypto/x509"
	"net"
	"strconv"

	"github.com/twinfleet/twinfleet/internal/nearby"
	"github.com/twinfleet/twinfleet/internal/regular"
	spec "github.com/twinfleet/twinfleet/scenario/target"
)

// Nearby is the file with the certificate of a hub that runs alone on this machine, for a target that is that hub and names no certificate;
// empty for any other.
func Nearby(t *spec.Target) string {
	if t.Kind != spec.IoTHub || t.Plain || t.CA != "" || len(t.Trusted) > 0 {
		return ""
	}
	x, err := t.Endpoint()
	if err != nil {
		return ""
	}
	_, text, err := net.SplitHostPort(x.Addr)
	if err != nil {
		return ""
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return ""
	}
	dir, err := nearby.Dir()
	if err != nil {
		return ""
	}
	h, _ := nearby.Find(dir, x.Host, port)
	return h.CA
}

// maxNearby bounds the file of a hub of this machine's authority, in bytes.
const maxNearby = 1 << 20

// trusted are the certificates to trust; nil is the system's.
func trusted(t *spec.Target) *x509.CertPool {
	if len(t.Trusted) == 0 {
		if b, err := regular.Read(Nearby(t), maxNearby); err == nil {
			if pool := x509.NewCertPool(); pool.AppendCertsFromPEM(b) {
				return pool
			}
		}
		return nil
	}
	pool := x509.NewCertPool()
	for _, c := range t.Trusted {
		pool.AddCert(c)
	}
	return pool
}
