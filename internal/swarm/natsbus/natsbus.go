// Package natsbus is a bus over NATS: messages are its messages, questions go to services as the package micro of its client has them (so that
// `nats micro ls` and $SRV.PING, INFO and STATS show them), stores are key-value buckets of JetStream.
//
// Subjects: PREFIX.pub.SUBJECT, PREFIX.ask.INSTANCE.ENDPOINT, $SRV.>, _INBOX.>, and for stores $KV.PREFIX_NAME.>, $JS.API.> and $JS.ACK.>.
package natsbus

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/twinfleet/twinfleet/internal/swarm/bus"
	"github.com/twinfleet/twinfleet/internal/swarm/bus/link"
	"github.com/twinfleet/twinfleet/internal/wait"
)

// Conn is a connection: a bus.Bus.
type Conn struct {
	options settled
	nc      *nats.Conn
	js      jetstream.JetStream
	link    *link.Link
	life    context.Context // ends with Close
	end     context.CancelCauseFunc
	closed  chan struct{} // the client has ended

	mu      sync.Mutex
	closes  bool                  // Close was called
	stops   map[*service]struct{} // services
	refused refusals
	warned  string         // the last text that was logged of a failed connection
	wg      sync.WaitGroup // handlers of subscriptions
}

var _ bus.Bus = (*Conn)(nil)

// Connect connects, and tries for as long as ctx lasts while no server answers. It returns at once, with an error that says what to do, when trying cannot help:
// bus.ErrDenied for credentials that the server refuses, TLS that one side alone wants, a certificate that is not trusted, options that cannot be.
// No error shows credentials.
func Connect(ctx context.Context, options Options) (*Conn, error) {
	s, err := options.settle()
	if err != nil {
		return nil, err
	}
	c := &Conn{options: s, link: link.New(), closed: make(chan struct{}), stops: map[*service]struct{}{}, refused: refusals{attempts: map[*attempt]struct{}{}}}
	c.life, c.end = context.WithCancelCause(context.Background())
	dial := &dialer{}
	handlers := []nats.Option{
		nats.SetCustomDialer(dial),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { c.down(err) }),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { c.down(err) }),
		nats.ReconnectHandler(func(*nats.Conn) { c.up() }),
		nats.ClosedHandler(func(*nats.Conn) { close(c.closed) }),
		nats.ErrorHandler(c.trouble),
	}
	for attempt := 1; ; attempt++ {
		c.nc, err = dial.connect(ctx, append(handlers, s.client...))
		if err == nil {
			break
		}
		if hopeless(err) {
			return nil, c.connectError(nil, err)
		}
		if attempt%toldEvery == 1 && ctx.Err() == nil {
			s.Logger.Warn("there is no NATS server yet; it is tried again", "error", c.connectError(nil, err))
		}
		if ended := wait.For(ctx, pause(attempt)); ended != nil {
			return nil, c.connectError(ended, err)
		}
	}
	if c.js, err = jetstream.New(c.nc); err != nil {
		c.nc.Close()
		return nil, c.connectError(nil, err)
	}
	return c, nil
}

// toldEvery is how many attempts to connect pass between two lines of the log: about half a minute.
const toldEvery = 20

// dialer ends a first attempt with its context: the client itself knows none.
type dialer struct {
	mu  sync.Mutex
	ctx context.Context // of the first attempts; later nil
	why error           // the last of them failed; nil when it did not
}

// connect is nats.Connect with a context.
func (d *dialer) connect(ctx context.Context, options []nats.Option) (*nats.Conn, error) {
	d.mu.Lock()
	d.ctx, d.why = ctx, nil
	d.mu.Unlock()
	nc, err := nats.Connect("", options...)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ctx = nil
	if errors.Is(err, nats.ErrNoServers) && d.why != nil { // which says nothing of why
		err = d.why
	}
	return nc, err
}

func (d *dialer) Dial(network, address string) (net.Conn, error) {
	d.mu.Lock()
	ctx := d.ctx
	d.mu.Unlock()
	if ctx == nil {
		ctx = context.Background()
	}
	c, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, network, address)
	d.mu.Lock()
	d.why = err
	d.mu.Unlock()
	return c, err
}

func denied(err error) bool {
	for _, one := range []error{nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked, nats.ErrAccountAuthExpired} {
		if errors.Is(err, one) {
			return true
		}
	}
	return false
}

// hopeless reports whether more attempts would end the same.
func hopeless(err error) bool {
	var (
		certificate *tls.CertificateVerificationError
		record      tls.RecordHeaderError
	)
	return denied(err) || errors.Is(err, nats.ErrSecureConnRequired) || errors.Is(err, nats.ErrSecureConnWanted) ||
		errors.As(err, &certificate) || errors.As(err, &record) || alerted(err)
}

// alerted reports whether the server's TLS said why it does not want to speak. What it said is of a type that only crypto/tls has: its
// tls.AlertError is that of QUIC.
func alerted(err error) bool {
	var remote *net.OpError
	return errors.As(err, &remote) && remote.Op == "remote error"
}

// plain makes an error of the client one of the bus, where there is one.
func (c *Conn) plain(err error) error {
	switch {
	case err == nil:
		return nil
	case denied(err):
		return bus.ErrDenied
	case errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrConnectionDraining),
		c.life.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, nats.ErrBadSubscription)):
		return bus.ErrClosed
	case errors.Is(err, nats.ErrReconnectBufExceeded):
		return bus.ErrBacklog
	case errors.Is(err, nats.ErrMaxPayload):
		return bus.ErrTooLarge
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return bus.ErrNoStore
	}
	return err
}

var errEnded = errors.New("the server ended the connection")

func (c *Conn) down(err error) {
	if err == nil {
		err = errEnded
	}
	if c.life.Err() == nil {
		c.link.Down(c.plain(err))
	}
}

func (c *Conn) up() {
	c.mu.Lock()
	c.warned, c.refused.inbox = "", nil
	c.mu.Unlock()
	c.link.Up()
}

// trouble is what the client tells of beside its errors.
func (c *Conn) trouble(_ *nats.Conn, sub *nats.Subscription, err error) {
	if denied(err) {
		c.down(err)
	}
	c.refuse(err)
	text := err.Error()
	c.mu.Lock()
	repeated := text == c.warned
	c.warned = text
	c.mu.Unlock()
	if repeated || c.life.Err() != nil {
		return
	}
	if sub != nil {
		c.options.Logger.Warn("NATS: messages may be missing", "subject", sub.Subject, "error", err)
		return
	}
	c.options.Logger.Warn("NATS", "error", err)
}

func (c *Conn) subject(kind string, rest ...string) string {
	return c.options.Prefix + "." + kind + "." + strings.Join(rest, ".")
}

// MaxPayload is bus.Bus's: what the server takes, less room for what goes with it.
func (c *Conn) MaxPayload() int { return int(c.nc.MaxPayload()) - headerRoom }

// States is bus.Bus's.
func (c *Conn) States(handle func(bus.State)) bus.Subscription { return c.link.States(handle) }

// Publish is bus.Bus's. It waits only for a network that takes nothing in any more, for 5 s at most, after which the connection counts as broken.
func (c *Conn) Publish(subject string, data []byte) error {
	if err := bus.CheckSubject(subject); err != nil {
		return err
	}
	if len(data) > c.MaxPayload() {
		return fmt.Errorf("publishing to %s: %d bytes: %w", subject, len(data), bus.ErrTooLarge)
	}
	if err := c.nc.Publish(c.subject("pub", subject), data); err != nil {
		return fmt.Errorf("publishing to %s: %w", subject, c.broken(err))
	}
	return nil
}

// broken is plain for what failed on a connection that there was.
func (c *Conn) broken(err error) error {
	if failure := net.Error(nil); errors.As(err, &failure) {
		return fmt.Errorf("%w: %w", bus.ErrLost, err)
	}
	return c.plain(err)
}

type subscription struct {
	sub   *nats.Subscription
	ended chan struct{}
}

// Subscribe is bus.Bus's.
func (c *Conn) Subscribe(subject string, handle func(subject string, data []byte)) (bus.Subscription, error) {
	if err := bus.CheckPattern(subject); err != nil {
		return nil, err
	}
	own := len(c.subject("pub", ""))
	s := &subscription{ended: make(chan struct{})}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closes {
		return nil, fmt.Errorf("listening to %s: %w", subject, bus.ErrClosed)
	}
	sub, err := c.nc.Subscribe(c.subject("pub", subject), func(m *nats.Msg) { handle(m.Subject[own:], m.Data) })
	if err != nil {
		return nil, fmt.Errorf("listening to %s: %w", subject, c.plain(err))
	}
	c.wg.Add(1)
	s.sub = sub
	sub.SetClosedHandler(func(string) {
		close(s.ended)
		c.wg.Done()
	})
	c.known()
	if err := c.listens(c.subject("pub", subject)); err != nil {
		_ = sub.Unsubscribe()
		return nil, fmt.Errorf("listening to %s: %w", subject, err)
	}
	return s, nil
}

// known waits until the server knows of all subscriptions; a server that comes back is told of them by the client.
func (c *Conn) known() {
	if !c.link.Connected() {
		return
	}
	ctx, cancel := context.WithTimeout(c.life, dialTimeout)
	defer cancel()
	_ = c.nc.FlushWithContext(ctx)
}

// Stop is bus.Subscription's.
func (s *subscription) Stop() {
	// Its error is that it has ended already.
	_ = s.sub.Unsubscribe()
	<-s.ended
}

// Close is bus.Bus's. It takes 12 s at most when the server does not answer.
func (c *Conn) Close() error {
	c.mu.Lock()
	first := !c.closes
	c.closes = true
	var services []*service
	for s := range c.stops {
		services = append(services, s)
	}
	c.mu.Unlock()
	if first {
		c.end(bus.ErrClosed)
		for _, s := range services {
			s.Stop()
		}
		// It closes a connection that is not there, and drains another.
		if err := c.nc.Drain(); err != nil {
			c.nc.Close()
		}
		c.link.Close()
	}
	<-c.closed
	c.wg.Wait()
	return nil
}

// retry does f over one connection after another until it comes to an end that another attempt would not change. f is told which attempt it is, from 1.
// about is how the subjects begin that it needs; see asking.
func (c *Conn) retry(ctx context.Context, about []string, f func(ctx context.Context, attempt int) error) error {
	ctx, cancel := link.Bound(ctx, c.life)
	defer cancel()
	for attempt := 1; ; attempt++ {
		epoch, err := c.link.Wait(ctx)
		if err != nil {
			return err
		}
		err = c.try(ctx, epoch, about, func(ctx context.Context) error { return f(ctx, attempt) })
		if ctx.Err() != nil && err != nil {
			return context.Cause(ctx)
		}
		if !passing(err) {
			return err
		}
		if err := wait.For(ctx, pause(min(attempt, 4))); err != nil {
			return err
		}
	}
}

// attemptLimit is how long one exchange with JetStream may take before it is tried anew.
const attemptLimit = 5 * time.Second

// errSlow is the cause of the end of an attempt.
var errSlow = errors.New("no answer from JetStream")

func (c *Conn) try(ctx, epoch context.Context, about []string, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, attemptLimit, errSlow)
	defer cancel()
	ctx, asked := c.asking(ctx, about...)
	defer asked()
	ctx, done := link.Bound(ctx, epoch)
	defer done()
	err := f(ctx)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// passing reports whether an error comes from a server or a connection on its way up or down.
func passing(err error) bool {
	for _, one := range []error{
		bus.ErrLost, errSlow, nats.ErrNoResponders, nats.ErrDisconnected, nats.ErrTimeout, jetstream.ErrNoStreamResponse, errBroken, errNotMade,
		jetstream.ErrServerShutdown, nats.ErrReconnectBufExceeded,
	} {
		if errors.Is(err, one) {
			return true
		}
	}
	var network net.Error
	return errors.As(err, &network)
}
