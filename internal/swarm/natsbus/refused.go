package natsbus

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/twinfleet/twinfleet/internal/swarm/bus"
)

// given is what the server was told of who connects, in words: no secret.
func (s *settled) given() string {
	var all []string
	for _, x := range []struct{ is, what string }{
		{s.Token, "a token"}, {s.User, "a user and a password"}, {s.CredsFile, "those of " + s.CredsFile}, {s.NkeyFile, "the NKey of " + s.NkeyFile},
	} {
		if x.is != "" {
			all = append(all, x.what)
		}
	}
	if len(all) == 0 {
		return "none"
	}
	return strings.Join(all, ", ")
}

// advice is what to do about a connection that there cannot be, or not yet; "" where the error says all.
func (s *settled) advice(err error) string {
	var (
		authority x509.UnknownAuthorityError
		name      x509.HostnameError
		invalid   x509.CertificateInvalidError
		dialing   *net.OpError
	)
	switch {
	case denied(err):
		return "they are " + s.given() + "; give those of a user that it has"
	case errors.As(err, &authority):
		return "name a file with the certificate of the authority that signed the server's"
	case errors.As(err, &name):
		return "name the server as its certificate does"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the server needs a new certificate, unless the clock of this machine is wrong"
	case alerted(err):
		return "the server refuses this side of TLS; it may want certificates of clients, of which this program has none"
	case errors.Is(err, nats.ErrSecureConnWanted):
		return "the server speaks no TLS: write nats:// and name no authorities, or have it speak TLS"
	case errors.As(err, &dialing) && dialing.Op == "read" && dialing.Timeout():
		return "who takes connections there says nothing, and a NATS server speaks first: it may be something else's port"
	}
	return ""
}

// connectError is why there is no connection, in a line. ended is why no more attempts are made; nil when they would end the same.
func (c *Conn) connectError(ended, err error) error {
	advice := c.options.advice(err)
	if advice != "" {
		advice = ": " + advice
	}
	if ended != nil {
		return fmt.Errorf("connecting to NATS at %s: %w (%w%s)", c.options.servers, ended, c.plain(err), advice)
	}
	return fmt.Errorf("connecting to NATS at %s: %w%s", c.options.servers, c.plain(err), advice)
}

// Subjects that the server may refuse: those of stores begin with the name of the bucket after kvSubjects.
const (
	apiSubjects     = "$JS.API."
	kvSubjects      = "$KV."
	serviceSubjects = "$SRV."
	inboxSubjects   = nats.InboxPrefix // without them there are no answers
)

// refusals are the attempts that end when the server refuses the subject that they are about: to a message that may not be sent there is no
// answer, only a word beside.
type refusals struct {
	attempts map[*attempt]struct{}
	inbox    error // answers are refused; nil when they are not
}

type attempt struct {
	about []string // beginnings of subjects
	end   context.CancelCauseFunc
}

// asking is a context that ends with bus.ErrForbidden when the server refuses a subject that begins as one of those, or answers at all. Call the
// function when done.
func (c *Conn) asking(ctx context.Context, about ...string) (context.Context, context.CancelFunc) {
	ctx, end := context.WithCancelCause(ctx)
	x := &attempt{about, end}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refused.inbox != nil {
		end(c.refused.inbox)
	}
	c.refused.attempts[x] = struct{}{}
	return ctx, func() {
		c.mu.Lock()
		delete(c.refused.attempts, x)
		c.mu.Unlock()
		end(context.Canceled)
	}
}

var refusal = regexp.MustCompile(`(Publish|Subscription)[^"]*"([^"]+)"`)

// forbidden is what the server refused, if that is what the error says.
func (c *Conn) forbidden(err error) (subject string, _ error) {
	if !errors.Is(err, nats.ErrPermissionViolation) {
		return "", nil
	}
	found := refusal.FindStringSubmatch(err.Error())
	if found == nil {
		return "", nil
	}
	doing := map[string]string{"Publish": "publish to", "Subscription": "subscribe to"}[found[1]]
	return found[2], fmt.Errorf("%w: the user of the NATS server at %s must be allowed to %s %s", bus.ErrForbidden, c.options.servers, doing, found[2])
}

func begins(subject string, with []string) bool {
	return slices.ContainsFunc(with, func(beginning string) bool { return strings.HasPrefix(subject, beginning) })
}

// refuse ends the attempts that an error of the client is about.
func (c *Conn) refuse(err error) {
	subject, err := c.forbidden(err)
	if err == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	answers := strings.HasPrefix(subject, inboxSubjects)
	if answers {
		c.refused.inbox = err
	}
	for x := range c.refused.attempts {
		if answers || begins(subject, x.about) {
			x.end(err)
		}
	}
}

// listens is bus.ErrForbidden when the server, which knows of all subscriptions, refused one whose subject begins so.
func (c *Conn) listens(about ...string) error {
	subject, err := c.forbidden(c.nc.LastError())
	if err == nil || !begins(subject, about) {
		return nil
	}
	return err
}

// storeError is why a store cannot be opened, with what to do.
func (c *Conn) storeError(err error) error {
	var api *jetstream.APIError
	switch {
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return fmt.Errorf("%w: the NATS server at %s has no JetStream: start it with --jetstream, or have its account use it", bus.ErrNoStore, c.options.servers)
	case errors.As(err, &api) && noRoom(api.ErrorCode):
		return fmt.Errorf("%w: the NATS server at %s has no room for one more of %d MiB: %s: remove those of runs that are over (nats kv ls; nats kv del BUCKET), or give it more",
			bus.ErrFull, c.options.servers, c.options.StoreBytes>>20, api.Description)
	case notMade(err):
		return fmt.Errorf("the NATS server at %s can't make a store: its log says why; see to it that its folder can be written and that its disk has room: %w",
			c.options.servers, err)
	}
	return c.plain(err)
}

// Codes of JetStream's errors, from its file errors.json, that its client has no names for.
const (
	codeStoreFailed = 10077 // of a stream at its bound
	codeNoSpace     = 10023 // of a server without room
	codeNoStorage   = 10047
	codeAccount     = 10002 // of an account without room
	codeNotMade     = 10049 // of a stream that could not be made, mostly for its files
)

// notMade reports whether an error of JetStream says that a stream could not be made, for a reason that has no code of its own.
func notMade(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == codeNotMade
}

// noRoom reports whether an error of JetStream says that the server, or the account, has no room for what is new.
func noRoom(code jetstream.ErrorCode) bool {
	return code == codeNoSpace || code == codeNoStorage || code == codeAccount
}
