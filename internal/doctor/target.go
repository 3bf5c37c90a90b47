package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/oserr"
	"github.com/twinfleet/twinfleet/metrics/reason"
	"github.com/twinfleet/twinfleet/report/clean"
	"github.com/twinfleet/twinfleet/report/human"
	"github.com/twinfleet/twinfleet/scenario/target"
)

// patience is how long one question to the target may take.
const patience = 10 * time.Second

// Clocks that differ by more than clockWrong make a hub refuse tokens (iot-hub-dev-guide-sas); by more than
// clockOff, times in reports cannot be compared with those of the service.
const (
	clockWrong = 5 * time.Minute
	clockOff   = 2 * time.Second
)

// Reach checks, in turn, whether the target's name is known, its port open, its certificate good, its credentials
// accepted and its clock right. What follows from a problem is not checked.
func Reach(ctx context.Context, can target.Capabilities, t Target, now func() time.Time) []Finding {
	var all []Finding
	for _, check := range []func(context.Context, target.Capabilities, Target) Finding{resolve, dial, through, handshake, credentials} {
		part, cancel := context.WithTimeout(ctx, patience)
		f := check(part, can, t)
		cancel()
		if f.Check == "" {
			continue
		}
		all = append(all, f)
		if f.Level == Problem && f.Check != "credentials" {
			return all
		}
	}
	part, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if f := clock(part, t, now); f.Check != "" {
		all = append(all, f)
	}
	return all
}

func resolve(ctx context.Context, _ target.Capabilities, t Target) Finding {
	f := Finding{Check: "name", Level: OK}
	name, key := hostOf(t.Address()), "target.hub"
	if t.Proxy() != "" { // which resolves the target's
		name, key = hostOf(t.Proxy()), "target.proxy"
	}
	found, err := t.Resolve(ctx)
	if err != nil {
		f.Level, f.Text = Problem, fmt.Sprintf("%s is not known: %v", name, plain(err))
		f.Remedy = fmt.Sprintf("check the host name in %s, and the name server of this machine", key)
		return f
	}
	f.Text = fmt.Sprintf("%s is %s", name, strings.Join(found[:min(len(found), 3)], ", "))
	return f
}

// hostOf is an address without its port; one without a port, or several, as it is.
func hostOf(addr string) string {
	name, _, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	return name
}

func dial(ctx context.Context, _ target.Capabilities, t Target) Finding {
	at, key := t.Address(), "target.hub"
	if t.Proxy() != "" {
		at, key = "the proxy "+t.Proxy(), "target.proxy"
	}
	f := Finding{Check: "port", Level: OK, Text: at + " is open"}
	if err := t.Dial(ctx); err != nil {
		f.Level, f.Text = Problem, fmt.Sprintf("%s cannot be reached: %v", at, plain(err))
		switch {
		case oserr.Is(err, oserr.Refused):
			f.Remedy = "start what should listen there, or correct the port in " + key
		case oserr.Is(err, oserr.NoAddress):
			f.Remedy = "check fleet.source_addresses: the target cannot be reached from one of them"
		default:
			f.Remedy = "let connections to it through the firewall; devices use port 8883 of Azure IoT Hub, the service side 443"
		}
	}
	return f
}

// through has the proxy open a connection to the target.
func through(ctx context.Context, _ target.Capabilities, t Target) Finding {
	if t.Proxy() == "" {
		return Finding{}
	}
	f := Finding{Check: "proxy", Level: OK, Text: "it connects to " + t.Address()}
	if err := t.Through(ctx); err != nil {
		f.Level, f.Text = Problem, fmt.Sprintf("no connection to %s: %s", t.Address(), reason.Of(err))
		f.Remedy = "check user, password and port in target.proxy, and that the proxy may connect to the target's port"
	}
	return f
}

func handshake(ctx context.Context, _ target.Capabilities, t Target) Finding {
	if !t.Secure() {
		return Finding{}
	}
	f := Finding{Check: "certificate", Level: OK, Text: "trusted"}
	agreed, err := t.Handshake(ctx)
	if err == nil {
		if t.Unchecked() {
			f.Level, f.Text = Warning, "not checked, as target.tls.insecure says: whoever is on the way can read and change what devices send"
			f.Remedy = "name the authority's certificate in target.ca, and remove insecure"
		}
		if agreed != "" {
			f.Text += "; " + agreed
		}
		return f
	}
	f.Level, f.Text = Problem, fmt.Sprintf("the handshake failed: %v", plain(err))
	var unknown x509.UnknownAuthorityError
	var wrongName x509.HostnameError
	var ended x509.CertificateInvalidError
	var noTLS tls.RecordHeaderError
	switch {
	case errors.As(err, &unknown):
		f.Remedy = target.TrustRemedy
	case errors.As(err, &wrongName):
		f.Remedy = "write the host name for which the certificate was made into target.hub"
	case errors.As(err, &ended):
		f.Remedy = "renew the target's certificate, or set this machine's clock"
	case t.Version() != "" && errors.As(err, &noTLS):
		f.Remedy = "the port speaks no TLS: write mqtt:// or ws:// in target.hub, or the port of TLS"
	case t.Version() != "" && (isAlert(err) || oserr.Is(err, oserr.Reset)):
		f.Remedy = "check target.tls: min_version, alpn and server_name, and whether the broker wants certificates of devices"
	case errors.As(err, &noTLS):
		f.Remedy = "the port speaks no TLS: use target.plain for a twinfleet hub, mqtt:// for a broker"
	default:
		f.Remedy = "check what listens on the port, and target.hub"
	}
	return f
}

func credentials(ctx context.Context, can target.Capabilities, t Target) Finding {
	f := Finding{Check: "credentials", Level: OK}
	n, err := t.Identities(ctx)
	var refused *link.RefusedError
	var astray *link.AstrayError
	switch {
	case err == nil && !can.Service:
		f.Text = "accepted for the first device"
		if v := t.Version(); v != "" {
			f.Text += ", which speaks MQTT " + v
		}
		if server := t.Redirected(); server != "" {
			f.Text += ", by " + server + ", to which the broker sends it"
		}
	case errors.As(err, &astray):
		f.Level, f.Text = Problem, fmt.Sprintf("%v; the first device was sent to %s at last", err, clean.Text(astray.Refused.Server))
		f.Remedy = "have one of the brokers take it, or name that one in target.hub"
	case errors.As(err, &refused) && refused.Server != "":
		f.Level, f.Text = Problem, fmt.Sprintf("the broker sends the first device to another server: %s", clean.Text(refused.Server))
		f.Remedy = "name that server in target.hub, or write redirect: follow"
	case err == nil:
		f.Text = fmt.Sprintf("accepted; the hub has %s identities", count(n))
	case errors.Is(err, iothub.ErrUnauthorized), errors.Is(err, iothub.ErrUnauthorizedAccess), statusOf(err) == 401:
		f.Level, f.Text = Problem, "the hub does not accept the service connection string"
		f.Remedy = "take that of the policy iothubowner, or of one that may read and write the registry and connect services"
	case errors.Is(err, iothub.ErrQuotaExceeded):
		f.Level, f.Text = Problem, "the hub's messages of this day are used up"
		f.Remedy = "wait for midnight UTC, or take more units"
	case statusOf(err) == 429:
		f.Level, f.Text = Warning, "the hub throttles the registry now"
		f.Remedy = "wait a minute, and see what else loads it"
	case errors.As(err, &refused):
		f.Level, f.Text = Problem, fmt.Sprintf("the broker refuses the first device: %v", err)
		if refused.Words != "" {
			f.Text += fmt.Sprintf(": \"%s\"", clean.Text(refused.Words))
		}
		f.Remedy = "check what the group and target have as username and password, or its identity, and the broker's access list"
	case t.Version() != "" && t.Secure() && (isAlert(err) || oserr.Is(err, oserr.Reset)): // over TLS 1.3 it comes after the handshake
		f.Level, f.Text = Problem, fmt.Sprintf("the broker refuses the first device: %s", reason.Of(err))
		f.Remedy = "give devices certificates that the broker trusts, with identity: {x509: …} or identity: {credentials: …} of their group"
	default:
		f.Level, f.Text = Problem, fmt.Sprintf("the question failed: %v", plain(err))
		f.Remedy = "check what listens on the port, and target.hub"
	}
	return f
}

// isAlert reports whether the other side refused a handshake of TLS.
func isAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}

func statusOf(err error) int {
	var e *iothub.Error
	if errors.As(err, &e) {
		return e.Status
	}
	return 0
}

func clock(ctx context.Context, t Target, now func() time.Time) Finding {
	before := now()
	at, ok, err := t.Clock(ctx)
	if err != nil || !ok {
		return Finding{} // no answer was judged already; brokers tell no time
	}
	off := at.Sub(before.Add(now().Sub(before) / 2))
	// The target tells whole seconds: up to one of them is its rounding.
	f := Finding{Check: "clock", Level: OK, Text: "as the target's, to the second"}
	switch d := max(off, -off); {
	case d > clockWrong:
		f.Level, f.Text = Problem, fmt.Sprintf("%s apart from the target's; a hub refuses tokens of clocks that are %s apart", human.Duration(d),
			human.Duration(clockWrong))
		f.Remedy = "set this machine's clock: timedatectl set-ntp true"
	case d > clockOff:
		f.Level, f.Text = Warning, fmt.Sprintf("%s apart from the target's", human.Duration(d))
		f.Remedy = "set this machine's clock: timedatectl set-ntp true"
	}
	return f
}
