// Package paho drives devices with the Eclipse Paho client, a new client for every connection.
//
// Of the client's own comfort nothing is used: with its automatic reconnecting a publish that was lost
// with its connection reports success, and a load test would count losses as successes.
package paho

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/twinfleet/twinfleet/fleet/link"
)

const (
	writeTimeout = 10 * time.Second
	handTimeout  = time.Second // for the client's writer to take a packet; its caller is blocked meanwhile
	quiesce      = 50          // milliseconds that Disconnect gives to what is under way
)

// Driver makes connections with Paho clients. The zero value is ready.
type Driver struct{}

var _ link.Driver = Driver{}

// New is a Driver.
func New() Driver { return Driver{} }

// conn is one connection: one client, never reused.
type conn struct {
	client mqtt.Client

	mu       sync.Mutex // protects the following fields
	nc       *incoming
	closed   bool          // by this side
	lost     error         // why the connection ended, if not
	farewell chan struct{} // closed when this side ends the connection
	abrupt   bool          // without a word
	finished bool          // nobody waits for an acknowledgement any more
	gone     chan struct{} // closed when the connection has ended
	once     sync.Once

	waits sync.WaitGroup // goroutines that wait for acknowledgements

	subscribing sync.Mutex // one SUBSCRIBE at a time
}

// Connect makes a connection.
func (Driver) Connect(ctx context.Context, o link.Options) (link.Conn, error) {
	c := &conn{gone: make(chan struct{}), farewell: make(chan struct{})}
	ctx, cancel := link.Connecting(ctx)
	defer cancel()
	deadline, _ := ctx.Deadline()
	var dialErr error
	opts := mqtt.NewClientOptions().
		SetClientID(o.ClientID).
		SetProtocolVersion(4). // without it a refusal is followed by a second attempt with MQTT 3.1
		SetCleanSession(o.CleanSession).
		SetAutoReconnect(false).
		SetConnectRetry(false).
		SetKeepAlive(o.KeepAlive).
		SetPingTimeout(pingTimeout(o.KeepAlive)).
		SetConnectTimeout(time.Until(deadline)).
		SetWriteTimeout(handTimeout). // of a write it is writeTimeout: incoming sees to it
		SetOrderMatters(true).        // handlers are called one at a time; they do not block
		SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) {
			o.Handler(link.Message{Topic: m.Topic(), Payload: m.Payload(), QoS: m.Qos(), Retain: m.Retained()})
		}).
		SetConnectionLostHandler(func(_ mqtt.Client, err error) { c.end(err) }).
		SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) {
			nc, err := o.Dial(ctx)
			if err != nil {
				dialErr = err
				return nil, err
			}
			return c.keep(nc)
		}).
		AddBroker("tcp://target:1883") // named only because there must be one: Dial knows where to go
	if o.Username != "" {
		opts.SetUsername(o.Username)
	}
	if o.Password != nil {
		opts.SetCredentialsProvider(func() (string, string) { return o.Username, o.Password() })
	}
	if o.Will != nil {
		opts.SetBinaryWill(o.Will.Topic, o.Will.Payload, o.Will.QoS, o.Will.Retain)
	}
	c.client = mqtt.NewClient(opts)
	token := c.client.Connect().(*mqtt.ConnectToken)
	select {
	case <-token.Done():
	case <-ctx.Done():
		c.giveUp()
		<-token.Done() // with its transport closed the client gives up
		return nil, link.ConnectError(ctx, dialErr)
	}
	if err := token.Error(); err != nil {
		c.giveUp()
		return nil, link.ConnectError(ctx, cmp.Or(dialErr, c.found(), err))
	}
	return c, nil
}

// found is what is wrong with what came in; nil for nothing.
func (c *conn) found() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.nc == nil {
		return nil
	}
	return c.nc.failed()
}

// pingTimeout is how long the answer to a ping may take: half a minute, and less for who pings more often,
// as the clients of the official SDKs have it. So a connection that died is noticed in two keep-alives.
func pingTimeout(keepAlive time.Duration) time.Duration {
	const most = 30 * time.Second
	if keepAlive > 0 && keepAlive < most {
		return keepAlive
	}
	return most
}

// end marks the connection as ended; Lost is called unless this side ended it.
func (c *conn) end(err error) {
	if found := c.found(); errors.As(found, new(link.ProtocolError)) {
		err = errors.Join(found, err)
	}
	if strings.HasPrefix(err.Error(), "pingresp not received") { // the client has no error of its own for it
		err = errors.Join(link.ErrSilent, err)
	}
	c.mu.Lock()
	if !c.closed {
		c.closed, c.lost = true, err
	}
	c.mu.Unlock()
	c.once.Do(func() { close(c.gone) })
}

// Blocking is true: the client's writer is waited for.
func (Driver) Blocking() bool { return true }

// Serve has a goroutine wait for the end of the connection, and for those of the client.
func (c *conn) Serve(over func(error)) {
	go func() {
		select {
		case <-c.gone:
		case <-c.farewell:
		}
		c.mu.Lock()
		lost, abrupt := c.lost, c.abrupt
		c.mu.Unlock()
		if lost != nil || abrupt {
			c.client.Disconnect(0)
		} else {
			c.client.Disconnect(quiesce)
		}
		c.finish()
		over(lost)
	}()
}

// begin has a goroutine wait for an acknowledgement, unless the connection is over.
func (c *conn) begin(done func(error), wait func()) {
	c.mu.Lock()
	over := c.finished
	if !over {
		c.waits.Go(wait)
	}
	c.mu.Unlock()
	if over {
		done(link.ErrLost)
	}
}

// await calls done when a token is complete or the connection has ended. A token alone is not
// enough: after a loss it may never complete, or complete without an error.
func (c *conn) await(token mqtt.Token, done func(error)) {
	c.begin(done, func() {
		select {
		case <-token.Done():
			select {
			case <-c.gone:
				done(link.ErrLost)
			default:
				done(c.because(token.Error()))
			}
		case <-c.gone:
			done(link.ErrLost)
		}
	})
}

func (c *conn) Publish(m link.Message, done func(error)) {
	select {
	case <-c.gone:
		done(link.ErrLost)
		return
	default:
	}
	payload := bytes.Clone(m.Payload) // the client keeps it
	token, err := c.hand(func() mqtt.Token { return c.client.Publish(m.Topic, m.QoS, m.Retain, payload) })
	if err != nil {
		done(err)
		return
	}
	if m.QoS == 0 {
		// The client's writer has the packet. Nothing waits for the write itself: it would cost a goroutine
		// a message, and when it fails the connection ends.
		select {
		case <-token.Done():
			done(token.Error())
		default:
			done(nil)
		}
		return
	}
	c.await(token, done)
}

// hand gives a packet to the client's writer. It fails when that takes nothing: the target does not read, or the
// connection has just ended. A writer that only has not had its turn yet, on a busy machine, is no reason to lose what
// the target would then seem not to answer: it is waited for.
func (c *conn) hand(packet func() mqtt.Token) (mqtt.Token, error) {
	for {
		began := time.Now()
		token := packet()
		if time.Since(began) < handTimeout || token.Error() == nil {
			return token, nil
		}
		select {
		case <-c.gone:
			return nil, link.ErrLost
		default:
		}
		if c.nc.writes(handTimeout) {
			return nil, fmt.Errorf("handing a packet to the connection: %w", context.DeadlineExceeded)
		}
	}
}

func (c *conn) Subscribe(done func(error), filters ...link.Filter) {
	topics := make(map[string]byte, len(filters))
	for _, f := range filters {
		topics[f.Topic] = f.QoS
	}
	c.begin(done, func() {
		c.subscribing.Lock()
		defer c.subscribing.Unlock()
		done(c.subscribe(topics))
	})
}

// subscribe waits for the acknowledgement of topic filters.
func (c *conn) subscribe(topics map[string]byte) error {
	c.nc.filters.Store(int32(len(topics)))
	handed, err := c.hand(func() mqtt.Token { return c.client.SubscribeMultiple(topics, nil) })
	if err != nil {
		return c.because(err)
	}
	token := handed.(*mqtt.SubscribeToken)
	select {
	case <-token.Done():
	case <-c.gone:
		return c.because(link.ErrLost)
	}
	if err := token.Error(); err != nil {
		for _, code := range token.Result() {
			if code > 2 {
				return &link.SubscriptionError{Code: code}
			}
		}
		return c.because(err)
	}
	var asked, codes []byte
	for topic, code := range token.Result() {
		asked, codes = append(asked, topics[topic]), append(codes, code)
	}
	return link.Granted(asked, codes)
}

// because is the error of a token: a client that is not connected any more lost its connection, whatever
// words it has for that, or ended it because the other side broke the protocol.
func (c *conn) because(err error) error {
	var broken link.ProtocolError
	if err != nil && errors.As(c.found(), &broken) {
		return broken
	}
	if err != nil && !c.client.IsConnectionOpen() {
		return errors.Join(link.ErrLost, err)
	}
	return err
}

func (c *conn) Close() { c.part(false) }
func (c *conn) Abort() { c.part(true) }

// part has Serve end the connection.
func (c *conn) part(abrupt bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if abrupt && c.nc != nil {
		link.Bottom(c.nc.Conn).Close()
	}
	if !c.closed {
		c.closed, c.abrupt = true, abrupt
		close(c.farewell)
	}
}

// giveUp ends what never was a connection.
func (c *conn) giveUp() {
	c.part(true)
	c.client.Disconnect(0)
	c.finish()
}

// keep takes the transport that was dialled, unless the connection was given up meanwhile.
func (c *conn) keep(nc net.Conn) (net.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		nc.Close()
		return nil, link.ErrLost
	}
	c.nc = newIncoming(nc)
	return c.nc, nil
}

// finish releases those who wait for acknowledgements.
func (c *conn) finish() {
	c.once.Do(func() { close(c.gone) })
	c.mu.Lock()
	c.finished = true
	c.mu.Unlock()
	c.waits.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.nc != nil {
		c.nc.Close()
	}
}
