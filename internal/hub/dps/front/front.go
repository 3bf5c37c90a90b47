// Package front is the device side of a provisioning service over MQTT 3.1.1: registrations and polls. A connection has a
// goroutine, which ends with it.
package front

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/dps/attest"
	"github.com/twinfleet/twinfleet/internal/hub/dps/faults"
	"github.com/twinfleet/twinfleet/internal/hub/dps/registration"
	"github.com/twinfleet/twinfleet/internal/iothub/dps"
	"github.com/twinfleet/twinfleet/internal/iothub/errorbody"
	"github.com/twinfleet/twinfleet/internal/mqtt"
	"github.com/twinfleet/twinfleet/internal/mqtt/framing"
	"github.com/twinfleet/twinfleet/internal/uuid"
)

// Service is what the front needs of the provisioning service. Errors are *iothub.Error.
type Service interface {
	// Admits says whether an enrollment admits a device.
	Admits(d attest.Device) error
	// Register begins a registration. It waits for nothing.
	Register(d attest.Device, apiVersion string, body []byte) (registration.Answer, error)
	// Poll answers how a registration stands.
	Poll(d attest.Device, apiVersion, operationID string) (registration.Answer, error)
}

// Options of a Front.
type Options struct {
	Service Service        // required
	Faults  *faults.Switch // required
	Logger  *slog.Logger   // nil logs nothing
	// Timeout is how long a connection may take to its CONNECT, and a device to read what it is sent; 30 s when 0.
	Timeout time.Duration
}

// maxKeepAlive caps the time after which a connection ends that says nothing, as at a hub (iot-mqtt-connect-to-iot-hub).
const maxKeepAlive = 1767 * time.Second

// maxTopic is how much a packet may be larger than the largest message, in bytes.
const maxTopic = 4 << 10

// Front serves devices.
type Front struct {
	opts Options
	log  *slog.Logger
	wg   sync.WaitGroup // of connections that Accept took

	mu     sync.Mutex // protects the following fields
	conns  map[*conn]struct{}
	newest map[string]*conn // by folded client id
	closed bool
}

// New makes a Front.
func New(o Options) *Front {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Timeout == 0 {
		o.Timeout = 30 * time.Second
	}
	return &Front{opts: o, log: o.Logger, conns: make(map[*conn]struct{}), newest: make(map[string]*conn)}
}

// Close ends all connections, and waits for those that Accept took.
func (f *Front) Close() {
	f.mu.Lock()
	f.closed = true
	open := slices.Collect(maps.Keys(f.conns))
	f.mu.Unlock()
	for _, c := range open {
		c.nc.Close()
	}
	f.wg.Wait()
}

// Connections is how many connections there are.
func (f *Front) Connections() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.conns)
}

// Accept has serve run for a connection in a goroutine of the Front's, and returns at once.
func (f *Front) Accept(nc net.Conn, serve func(net.Conn)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		nc.Close()
		return
	}
	f.wg.Go(func() { serve(nc) })
}

// ServeConn serves one connection until it ends. It closes nc.
func (f *Front) ServeConn(nc net.Conn) {
	c := &conn{front: f, nc: nc, reader: framing.NewReader(nc)}
	c.reader.MaxPacket = dps.MaxMessage + maxTopic
	defer nc.Close()
	if !f.add(c) {
		return
	}
	err := c.serve()
	f.remove(c)
	f.log.Debug("connection of a provisioning device ended", "registration", c.device.RegistrationID, "reason", err)
}

func (f *Front) add(c *conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed {
		f.conns[c] = struct{}{}
	}
	return !f.closed
}

// takeOver makes a connection the one of its client id. An older one ends (MQTT 3.1.1 section 3.1.4).
func (f *Front) takeOver(c *conn) {
	id := dps.Fold(c.device.RegistrationID)
	f.mu.Lock()
	old := f.newest[id]
	f.newest[id] = c
	f.mu.Unlock()
	if old != nil {
		old.nc.Close() // within TLS this may wait for the other side
	}
}

func (f *Front) remove(c *conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.conns, c)
	if id := dps.Fold(c.device.RegistrationID); f.newest[id] == c {
		delete(f.newest, id)
	}
}

// conn is one connection. Its goroutine alone writes.
type conn struct {
	front      *Front
	nc         net.Conn
	reader     *framing.Reader
	device     attest.Device
	apiVersion string
	keepAlive  time.Duration
	subscribed bool
	qos        byte // granted
	lastID     uint16
	out        []byte
}

var (
	errDisconnect = errors.New("the client disconnected")
	errFault      = errors.New("a fault ends the connection")
)

// serve runs the connection to its end and returns why it ended.
func (c *conn) serve() error {
	if err := c.nc.SetReadDeadline(time.Now().Add(c.front.opts.Timeout)); err != nil {
		return err
	}
	p, err := c.reader.Next()
	if err == nil {
		err = c.connect(p)
	}
	for err == nil {
		if err = c.nc.SetReadDeadline(time.Now().Add(c.keepAlive)); err != nil {
			break
		}
		if p, err = c.reader.Next(); err == nil {
			err = c.handle(p)
		}
	}
	return err
}

func (c *conn) connect(p mqtt.Packet) error {
	var m mqtt.Connect
	if p.Type != mqtt.CONNECT {
		return mqtt.Violation("3.1", "the first packet is no CONNECT")
	}
	if err := mqtt.DecodeConnect(p.Body, &m); err != nil {
		return err
	}
	if string(m.ProtocolName) != "MQTT" || m.ProtocolLevel != 4 {
		return c.refuse(mqtt.BadProtocolVersion, errors.New("protocol version other than 3.1.1"))
	}
	user, err := dps.ParseUsername(string(m.Username))
	if err != nil {
		return c.refuse(mqtt.NotAuthorized, err)
	}
	if !strings.EqualFold(string(m.ClientID), user.RegistrationID) {
		return c.refuse(mqtt.NotAuthorized, errors.New("the client id is not the user name's registration"))
	}
	c.device, c.apiVersion = attest.Device{IDScope: user.IDScope, RegistrationID: user.RegistrationID, Token: string(m.Password)}, user.APIVersion
	if c.device.Token == "" {
		// A wrong certificate is refused at once; a wrong token when it is used (azure-docs issues 43157, 69882).
		c.device.Chain = Certificates(c.nc)
		if err := c.front.opts.Service.Admits(c.device); err != nil {
			return c.refuse(mqtt.NotAuthorized, err)
		}
	}
	c.keepAlive = time.Duration(m.KeepAlive) * time.Second * 3 / 2
	if c.keepAlive == 0 || c.keepAlive > maxKeepAlive {
		c.keepAlive = maxKeepAlive
	}
	c.front.takeOver(c)
	// Every session is a clean one (iot-mqtt-connect-to-iot-dps).
	return c.write(mqtt.AppendConnack(c.out[:0], false, mqtt.Accepted))
}

// Certificates are those that the client showed, on a connection or below its wrappers.
func Certificates(nc any) []*x509.Certificate {
	for nc != nil {
		if t, ok := nc.(*tls.Conn); ok {
			return t.ConnectionState().PeerCertificates
		}
		w, ok := nc.(interface{ Unwrap() any })
		if !ok {
			return nil
		}
		nc = w.Unwrap()
	}
	return nil
}

func (c *conn) refuse(code byte, why error) error {
	return errors.Join(why, c.write(mqtt.AppendConnack(c.out[:0], false, code)))
}

// write sends bytes, which are the buffer's.
func (c *conn) write(b []byte) error {
	c.out = b
	if err := c.nc.SetWriteDeadline(time.Now().Add(c.front.opts.Timeout)); err != nil {
		return err
	}
	_, err := c.nc.Write(b)
	return err
}

func (c *conn) handle(p mqtt.Packet) error {
	switch p.Type {
	case mqtt.PUBLISH:
		return c.publish(p)
	case mqtt.PUBACK:
		_, err := mqtt.DecodeAck(p.Body) // the session is clean: nothing is sent again
		return err
	case mqtt.SUBSCRIBE:
		return c.subscribe(p.Body)
	case mqtt.UNSUBSCRIBE:
		id, err := mqtt.DecodeUnsubscribe(p.Body, func(filter []byte) {
			if string(filter) == dps.ResponseFilter {
				c.subscribed = false
			}
		})
		if err != nil {
			return err
		}
		return c.write(mqtt.AppendAck(c.out[:0], mqtt.UNSUBACK, id))
	case mqtt.PINGREQ:
		return c.write(mqtt.AppendEmpty(c.out[:0], mqtt.PINGRESP))
	case mqtt.DISCONNECT:
		return errDisconnect
	default:
		return mqtt.Violation("3", fmt.Sprintf("packet type %d from a client", p.Type))
	}
}

func (c *conn) subscribe(body []byte) error {
	var codes []byte
	var bad error
	id, err := mqtt.DecodeSubscribe(body, func(s mqtt.Subscription) {
		if string(s.Filter) != dps.ResponseFilter {
			bad = fmt.Errorf("unsupported topic filter %q", s.Filter)
			return
		}
		c.subscribed, c.qos = true, min(s.QoS, 1)
		codes = append(codes, c.qos)
	})
	if err := errors.Join(err, bad); err != nil {
		return err
	}
	return c.write(mqtt.AppendSuback(c.out[:0], id, codes...))
}

// publish serves a registration or a poll. The acknowledgement goes first, and nothing between it and the answer: clients
// wait for them in this order.
func (c *conn) publish(p mqtt.Packet) error {
	var m mqtt.Publish
	if err := mqtt.DecodePublish(p, &m); err != nil {
		return err
	}
	if m.QoS == 2 {
		return errors.New("QoS 2 is not supported")
	}
	if len(m.Payload) > dps.MaxMessage {
		return fmt.Errorf("a message of %d bytes; %d are the most", len(m.Payload), dps.MaxMessage)
	}
	topic, err := dps.ParseRequest(string(m.Topic))
	if err != nil {
		return fmt.Errorf("%w: %q", err, m.Topic)
	}
	out := c.out[:0]
	if m.QoS == 1 {
		out = mqtt.AppendAck(out, mqtt.PUBACK, m.PacketID)
	}
	faulty := c.front.opts.Faults.Now()
	var answer registration.Answer
	if topic.Poll {
		if faults.Draw(faulty.Mute) {
			return c.write(out)
		}
		answer, err = c.front.opts.Service.Poll(c.device, c.apiVersion, topic.OperationID)
	} else {
		answer, err = c.front.opts.Service.Register(c.device, c.apiVersion, m.Payload)
		if err == nil && faults.Draw(faulty.Close) {
			return errors.Join(errFault, c.write(out))
		}
	}
	if !c.subscribed {
		return c.write(out)
	}
	status, after, body := answer.Status, answer.RetryAfter, []byte(nil)
	if err != nil {
		e := dps.AsError(err)
		status, after, body = e.Status, e.RetryAfter, errorbody.MQTT(e, TrackingID(e.Code), time.Now())
	} else if body, err = json.Marshal(answer.Operation); err != nil {
		return fmt.Errorf("encoding an answer: %w", err)
	}
	id := uint16(0)
	if c.qos > 0 {
		c.lastID = max(1, c.lastID+1) // 0 is none
		id = c.lastID
	}
	return c.write(mqtt.AppendPublish(out, dps.ResponseTopic(status, topic.RequestID, after), body, c.qos, false, false, id))
}

// TrackingID is a random id for an error answer; a body that cannot be read gets none (azure-docs issue 66740).
func TrackingID(code int) string {
	if code == dps.ErrDeserialization.Code {
		return ""
	}
	return uuid.New().String()
}
