package reason_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/twinfleet/twinfleet/metrics/reason"
)

// ownReason is an error that knows its reason.
type ownReason struct{ id string }

func (e ownReason) Error() string  { return "device " + e.id + " failed" }
func (e ownReason) Reason() string { return "429001 ThrottlingException" }

func TestOf(t *testing.T) {
	dialling := func(call string, err error) error {
		return &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError(call, err)}
	}
	for want, err := range map[string]error{
		"":                                                 nil,
		"429001 ThrottlingException":                       fmt.Errorf("tagging: %w", ownReason{"robot-7"}),
		"no answer in time":                                fmt.Errorf("asking: %w", context.DeadlineExceeded),
		"nothing listens at the target":                    dialling("connect", syscall.ECONNREFUSED),
		"the target closed the connection":                 fmt.Errorf("reading: %w", io.ErrUnexpectedEOF),
		"the target's name was not found":                  &net.DNSError{Name: "secret.example", Err: "no such host", IsNotFound: true},
		"the target's name could not be resolved":          &net.DNSError{Name: "secret.example", Err: "server misbehaving", IsTemporary: true},
		"no address of the target fits the source address": &net.OpError{Op: "dial", Err: &net.AddrError{Err: "mismatched local address type", Addr: "10.0.0.7"}},
		"the target's certificate is not trusted":          fmt.Errorf("dialling: %w", &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}),
		"the target's certificate is not valid":            x509.CertificateInvalidError{Reason: x509.TooManyIntermediates},
		"the target does not speak TLS":                    fmt.Errorf("TLS handshake: %w", tls.RecordHeaderError{Msg: "no TLS handshake"}),
		"this machine has no ports left":                   dialling("connect", syscall.EADDRNOTAVAIL),
		"the source address is not one of this machine":    dialling("bind", syscall.EADDRNOTAVAIL),
		"this machine has no descriptors left":             dialling("socket", syscall.EMFILE),
		"the target's network is unreachable":              dialling("connect", syscall.ENETUNREACH),
		"no route to the target":                           dialling("connect", syscall.EHOSTUNREACH),
		"this machine forbids the connection":              dialling("connect", syscall.EPERM),
		reason.Other:                                       errors.New("SharedAccessKey=c2VjcmV0 of robot-7 was wrong"),
	} {
		if got := reason.Of(err); got != want {
			t.Errorf("Of(%v) = %q; want %q", err, got, want)
		}
	}
}
