package metrics_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
)

// ownReason is an error that knows its reason.
type ownReason struct{ id string }

func (e ownReason) Error() string  { return "device " + e.id + " failed" }
func (e ownReason) Reason() string { return "429001 ThrottlingException" }

func TestReason(t *testing.T) {
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
		"the target does not speak TLS":                    fmt.Errorf("TLS handshake: %w", tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}),
		"this machine has no ports left":                   dialling("connect", syscall.EADDRNOTAVAIL),
		"the source address is not one of this machine":    dialling("bind", syscall.EADDRNOTAVAIL),
		"this machine has no descriptors left":             dialling("socket", syscall.EMFILE),
		"the target's network is unreachable":              dialling("connect", syscall.ENETUNREACH),
		"no route to the target":                           dialling("connect", syscall.EHOSTUNREACH),
		"this machine forbids the connection":              dialling("connect", syscall.EPERM),
		metrics.OtherReason:                                errors.New("SharedAccessKey=c2VjcmV0 of robot-7 was wrong"),
	} {
		if got := metrics.Reason(err); got != want {
			t.Errorf("Reason(%v) = %q; want %q", err, got, want)
		}
	}
}

// The counts of errors add up to what the histograms hold, whoever counts at once.
func TestErrorsAreAccounted(t *testing.T) {
	rec := metrics.NewRecorder(metrics.Options{})
	at := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	observe := func(n int) {
		s := rec.Series(metrics.OpTwinReport, "robots")
		for i := range n {
			o := metrics.Outcomes()[i%len(metrics.Outcomes())]
			reason := ""
			if i%2 == 0 {
				reason = "status 429"
			}
			s.Start(at, at).EndBecause(at.Add(time.Duration(i)*time.Millisecond), o, reason)
		}
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() { observe(100) })
	}
	all.Wait()
	early := rec.Snapshot()
	observe(50)
	late := rec.Snapshot()
	window := late.Sub(early)
	for name, s := range map[string]*metrics.Snapshot{"all": late, "before": early, "window": window, "merged": early.Merge(window)} {
		for _, o := range metrics.Outcomes()[1:] {
			var counted uint64
			for _, e := range s.Errors {
				if e.Outcome == o.String() {
					counted += e.Count
				}
			}
			if want := s.Select(metrics.OpTwinReport, "").Count(o); counted != want || want == 0 {
				t.Errorf("%s: %d errors by reason, %d %s", name, counted, want, o)
			}
		}
	}
	if e := late.Errors[len(late.Errors)-1]; !e.Last.Equal(at.Add(99*time.Millisecond)) && !e.Last.Equal(at.Add(49*time.Millisecond)) && e.Last.Before(at) {
		t.Errorf("last seen at %v", e.Last)
	}
	if len(rec.Snapshot().Sub(late).Errors) != 0 {
		t.Error("a window in which nothing happened has errors")
	}
}

// However many reasons a target invents, the table stays small and nothing is lost.
func TestReasonsAreBounded(t *testing.T) {
	rec := metrics.NewRecorder(metrics.Options{})
	s, now := rec.Series(metrics.OpConnect, "robots"), time.Now()
	for i := range 1000 {
		s.Start(now, now).EndBecause(now, metrics.Failed, strings.Repeat("x", i))
	}
	errs := rec.Snapshot().Errors
	var sum uint64
	for _, e := range errs {
		sum += e.Count
	}
	if len(errs) > 60 || sum != 1000 {
		t.Errorf("%d reasons with %d errors; want 1000 errors of few reasons", len(errs), sum)
	}
}
