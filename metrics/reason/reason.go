// Package reason says in a few words why an operation ended badly. Its texts are of a bounded set, fit to be a label or
// a line of a report, and hold no id, no address and no secret.
package reason

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"unicode"

	"github.com/twinfleet/twinfleet/internal/oserr"
)

// Reasons that others than Of give too.
const (
	NoAnswer = "no answer in time" // a time-out, or an outcome of which no more is known
	Other    = "another reason"    // an error that Of does not know, and whatever is over a bound
	// Untrusted is a certificate that no authority vouches for which this side trusts.
	Untrusted = "the target's certificate is not trusted"
)

// Of says in a few words why an operation ended badly. Its texts are of a bounded set and hold no id,
// no address and no secret: an error's own text would. An error that knows its reason has a method
// Reason() string that keeps to that.
func Of(err error) string {
	var own interface{ Reason() string }
	switch {
	case err == nil:
		return ""
	case errors.As(err, &own):
		return printable(own.Reason())
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return NoAnswer
	}
	for _, of := range []func(error) string{lookupReason, certificateReason, tlsReason, systemReason} {
		if reason := of(err); reason != "" {
			return reason
		}
	}
	var network net.Error
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return "the target closed the connection"
	case errors.As(err, &network) && network.Timeout():
		return NoAnswer
	}
	return Other
}

// maxReason bounds a reason, in bytes: some are a target's words.
const maxReason = 200

// printable shows control characters, instead of sending them to whoever reads a reason.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
	if len(s) > maxReason {
		s = strings.ToValidUTF8(s[:maxReason], "")
	}
	return s
}

// lookupReason is of the addresses of a connection, before anything is sent.
func lookupReason(err error) string {
	var lookup *net.DNSError
	var address *net.AddrError
	switch {
	case errors.As(err, &lookup) && lookup.IsTimeout:
		return "the target's name was not resolved in time"
	case errors.As(err, &lookup) && lookup.IsNotFound:
		return "the target's name was not found"
	case errors.As(err, &lookup):
		return "the target's name could not be resolved"
	case errors.As(err, &address):
		// A source address of IPv4 towards a target of IPv6, or the other way round.
		return "no address of the target fits the source address"
	}
	return ""
}

// certificateReason is what is wrong with the certificate of the target.
func certificateReason(err error) string {
	var unknown x509.UnknownAuthorityError
	var roots x509.SystemRootsError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var verification *tls.CertificateVerificationError
	switch {
	case errors.As(err, &unknown), errors.As(err, &roots):
		return Untrusted
	case errors.As(err, &name):
		return "the target's certificate is for another name"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the target's certificate has expired, or is not valid yet"
	case errors.As(err, &invalid), errors.As(err, &verification):
		return "the target's certificate is not valid"
	}
	return ""
}

// tlsReason is of a handshake that one of the two sides refused.
func tlsReason(err error) string {
	var record tls.RecordHeaderError
	var op *net.OpError
	switch {
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return "the target does not speak TLS"
	case !errors.As(err, &op) || op.Op != "remote error": // an alert; its type is not exported
		return ""
	}
	alert := strings.TrimPrefix(op.Err.Error(), "tls: ")
	switch alert {
	case "certificate required":
		return "the target demands a client certificate"
	case "bad certificate", "unsupported certificate", "revoked certificate", "expired certificate", "unknown certificate", "unknown certificate authority",
		"access denied":
		return "the target refused the client certificate, or demands one (" + alert + ")"
	}
	return "the target refused the TLS handshake (" + alert + ")"
}

// systemReason is what the kernel says.
func systemReason(err error) string {
	var call *os.SyscallError
	switch {
	case oserr.Is(err, oserr.Refused):
		return "nothing listens at the target"
	case oserr.Is(err, oserr.Reset):
		return "the target closed the connection"
	case oserr.Is(err, oserr.NoDescriptor):
		return "this machine has no descriptors left"
	case oserr.Is(err, oserr.NoAddress) && errors.As(err, &call) && call.Syscall == "bind":
		return "the source address is not one of this machine"
	case oserr.Is(err, oserr.NoAddress):
		return "this machine has no ports left"
	case oserr.Is(err, oserr.NetworkUnreachable):
		return "the target's network is unreachable"
	case oserr.Is(err, oserr.HostUnreachable):
		return "no route to the target"
	case oserr.Is(err, oserr.Forbidden):
		return "this machine forbids the connection"
	case oserr.Is(err, oserr.NoMemory):
		return "this machine has no memory left for connections"
	}
	return ""
}
