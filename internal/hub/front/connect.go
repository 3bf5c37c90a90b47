package front

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/filters"
	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/tier"
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
	"github.com/twinfleet/twinfleet/internal/iothub/username"
	"github.com/twinfleet/twinfleet/internal/mqtt"
)

// handshake takes the CONNECT, checks who the device is, and takes over from an older connection of it.
func (c *conn) handshake(p mqtt.Packet) error {
	if p.Type != mqtt.CONNECT {
		return fmt.Errorf("%w: the first packet is no CONNECT (section 3.1)", mqtt.ErrProtocol)
	}
	c.stall()
	var m mqtt.Connect
	if err := mqtt.DecodeConnect(p.Body, &m); err != nil {
		return err
	}
	if string(m.ProtocolName) != "MQTT" || m.ProtocolLevel != 4 {
		return c.refuse(mqtt.BadProtocolVersion, errors.New("protocol version other than 3.1.1"))
	}
	who, err := c.authenticate(&m)
	if err != nil {
		return c.refuse(mqtt.NotAuthorized, err)
	}
	if admit := c.front.opts.Admit; admit != nil {
		if err := admit(c.front.ctx, tier.ClassConnect, 0); err != nil {
			if errors.Is(err, iothub.ErrQuotaExceeded) {
				return c.refuse(c.front.opts.QuotaCode, err)
			}
			return c.refuse(c.front.opts.ThrottledCode, err)
		}
		// While it waited its token may have expired, and its identity may be another's now.
		if who, err = c.again(&m, who); err != nil {
			return c.refuse(mqtt.NotAuthorized, err)
		}
	}
	if err := c.takeWill(&m); err != nil {
		return err
	}
	c.keepAlive = time.Duration(m.KeepAlive) * time.Second * 3 / 2
	if c.keepAlive == 0 || c.keepAlive > maxKeepAlive {
		c.keepAlive = maxKeepAlive
	}
	if !who.expiry.IsZero() {
		c.expiry = who.expiry.Add(c.front.opts.TokenGrace)
	}
	return c.takeOver(&m, who)
}

// proven is who a connection has shown to be.
type proven struct {
	creds  registry.Credentials // against which it was checked
	expiry time.Time            // when what it showed is no longer good; zero for never
	model  string               // that it named; empty for none
}

// maxModelID is the longest model id, in bytes, that a twin keeps: more than a digital twin's model may have (DTDL v2).
const maxModelID = 2048

// refuse answers with a return code and ends the connection.
func (c *conn) refuse(code byte, why error) error {
	c.will = nil // it is no connection of the device's
	if err := c.write(func(b []byte) []byte { return mqtt.AppendConnack(b, false, code) }); err != nil {
		return errors.Join(why, err)
	}
	return fmt.Errorf("refused with return code %d: %w", code, why)
}

// authenticate checks user name, client id and credentials: of a module its own.
func (c *conn) authenticate(m *mqtt.Connect) (who proven, err error) {
	user, err := username.Parse(string(m.Username))
	if err != nil {
		return who, err
	}
	client := user.ClientID()
	if client != string(m.ClientID) {
		return who, errors.New("the client id is not the user name's device or module")
	}
	if who.creds, err = c.front.opts.Backend.Credentials(client); err != nil {
		return who, err
	}
	if !who.creds.Enabled {
		return who, iothub.ErrDeviceDisabled
	}
	if !m.HasPassword || len(m.Password) == 0 {
		state, _ := connectionState(c.nc)
		err = c.front.auth.Certificate(user, who.creds, state.PeerCertificates)
	} else {
		who.expiry, err = c.front.auth.Token(user, who.creds, string(m.Password))
	}
	if model := user.Parameter("model-id"); len(model) > maxModelID {
		return who, fmt.Errorf("a model id of %d bytes: at most %d are kept", len(model), maxModelID)
	} else if model != "" {
		who.model = strings.Clone(model)
	}
	if err == nil && c.client == "" {
		// The user name may be long: of it stays what is asked for again.
		c.client, c.arrays = strings.Clone(client), user.AllowsArrays()
		c.user.DeviceID, c.user.ModuleID, _ = strings.Cut(c.client, "/")
	}
	return who, err
}

// again is authenticate for who was found to be who it says: with little to do while nothing has changed.
func (c *conn) again(m *mqtt.Connect, who proven) (proven, error) {
	creds, err := c.front.opts.Backend.Credentials(c.client)
	if err == nil && creds == who.creds && (who.expiry.IsZero() || time.Now().Before(who.expiry)) {
		return who, nil
	}
	return c.authenticate(m)
}

// connectionState finds the TLS state of a connection, also below wrappers that have a NetConn method.
func connectionState(nc any) (tls.ConnectionState, bool) {
	for nc != nil {
		if t, ok := nc.(*tls.Conn); ok {
			return t.ConnectionState(), true
		}
		w, ok := nc.(interface{ Unwrap() any })
		if !ok {
			break
		}
		nc = w.Unwrap()
	}
	return tls.ConnectionState{}, false
}

// takeWill keeps the will, which becomes telemetry when the connection ends without DISCONNECT.
func (c *conn) takeWill(m *mqtt.Connect) error {
	if !m.HasWill {
		return nil
	}
	topic, err := topics.Parse(string(m.WillTopic))
	if err != nil || topic.Kind != topics.KindTelemetry || topic.DeviceID != c.user.DeviceID || topic.ModuleID != c.user.ModuleID {
		return errors.New("the will's topic is not the device's own")
	}
	bag, err := topics.ParseBag(topic.Properties)
	if err != nil {
		return err
	}
	bag = append(bag, topics.Property{Name: "iothub-MessageType", Value: "Will", HasValue: true})
	c.will = &Message{Properties: bag, Payload: append([]byte(nil), m.WillPayload...), Will: true}
	return nil
}

// takeOver makes this the connection of its device: an older one is closed, and a session that is
// not clean gets its filters back. The device hears of it in the same order as others do.
func (c *conn) takeOver(m *mqtt.Connect, who proven) error {
	clean := m.CleanSession
	var old *conn
	var restored filters.Set
	var durable func(context.Context) error
	present := false
	c.front.device(c.client, func(d *deviceState) {
		old = d.conn
		d.conn = c
		present = !clean && d.kept
		if clean {
			c.front.keepFilters(c.client, d, filters.Set{}) // nothing outlives a clean session
		}
		d.kept = !clean
		durable, restored = d.durable, d.filters
		c.mu.Lock()
		c.clean = clean
		c.mu.Unlock()
		d.calls.FailAll(iothub.ErrDeviceNotOnline)
		d.queue.Release()
	})
	c.front.started(c)
	if old != nil {
		old.close(iothub.ErrConnectionForceClosed)
	}
	// Whoever ends the identity from here on finds the connection; it may have ended just before.
	if _, err := c.again(m, who); err != nil {
		if errors.Is(err, iothub.ErrDeviceNotFound) || errors.Is(err, iothub.ErrModuleNotFound) {
			// Whoever deleted it has forgotten the session before it was made.
			c.front.existing(c.client, func(d *deviceState) { d.kept = d.kept && d.conn != c })
		}
		return c.refuse(mqtt.NotAuthorized, err)
	}
	c.front.tellPresence(c.client)
	err := c.front.wait(durable)
	if err == nil && who.model != "" {
		err = c.front.opts.Backend.ModelID(c.front.ctx, c.client, who.model)
	}
	if err != nil {
		return c.refuse(mqtt.Unavailable, err)
	}
	// Others find the connection already: they have something to send from when the device is answered.
	c.mu.Lock()
	err = c.send(mqtt.AppendConnack(nil, present, mqtt.Accepted))
	c.filters = restored
	c.mu.Unlock()
	if err != nil {
		return fmt.Errorf("writing to the device: %w", err)
	}
	return c.deliver()
}
