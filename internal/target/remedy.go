package target

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/oserr"
	spec "github.com/twinfleet/twinfleet/scenario/target"
)

// WithRemedy adds to the error of a call to the service side what one can do about it, where that is known.
func WithRemedy(err error) error {
	if remedy := remedyFor(err); remedy != "" {
		return fmt.Errorf("%w; %s", err, remedy)
	}
	return err
}

func remedyFor(err error) string {
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var record tls.RecordHeaderError
	var lookup *net.DNSError
	var answer *iothub.Error
	switch {
	case errors.As(err, &unknown):
		return spec.TrustRemedy
	case errors.As(err, &name):
		return "write the host name for which the certificate was made into target.hub"
	case errors.As(err, &invalid):
		return "renew the target's certificate, or set this machine's clock"
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return "the port speaks no TLS: set target.plain for a twinfleet hub"
	case errors.As(err, &lookup):
		return "check the host name in target.hub, and the name server of this machine"
	case errors.As(err, &answer):
		if answer.Status == http.StatusUnauthorized || answer.Status == http.StatusForbidden {
			return "check the policy and its key in target.hub: it must read and write the registry and connect services"
		}
	case oserr.Is(err, oserr.Refused):
		return "start what should listen there, or correct the port in target.hub"
	case errors.Is(err, context.DeadlineExceeded):
		return "the target takes connections and does not answer: check what listens there"
	}
	return ""
}
