package front

import (
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/filters"
	"github.com/twinfleet/twinfleet/internal/iothub"
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
	expiry, err := c.authenticate(&m)
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
	}
	if err := c.takeWill(&m); err != nil {
		return err
	}
	c.keepAlive = time.Duration(m.KeepAlive) * time.Second * 3 / 2
	if c.keepAlive == 0 || c.keepAlive > maxKeepAlive {
		c.keepAlive = maxKeepAlive
	}
	if !expiry.IsZero() {
		c.expiry = expiry.Add(c.front.opts.TokenGrace)
	}
	return c.takeOver(m.CleanSession)
}

// refuse answers with a return code and ends the connection.
func (c *conn) refuse(code byte, why error) error {
	if err := c.write(func(b []byte) []byte { return mqtt.AppendConnack(b, false, code) }); err != nil {
		return errors.Join(why, err)
	}
	return fmt.Errorf("refused with return code %d: %w", code, why)
}

// authenticate checks user name, client id and credentials. The time is when they expire, or zero.
func (c *conn) authenticate(m *mqtt.Connect) (time.Time, error) {
	user, err := username.Parse(string(m.Username))
	if err != nil {
		return time.Time{}, err
	}
	if user.ClientID() != string(m.ClientID) {
		return time.Time{}, errors.New("the client id is not the user name's device")
	}
	c.user, c.client = user, user.ClientID()
	creds, err := c.front.opts.Backend.Credentials(user.DeviceID)
	if err != nil {
		return time.Time{}, err
	}
	if !creds.Enabled {
		return time.Time{}, iothub.ErrDeviceDisabled
	}
	if !m.HasPassword || len(m.Password) == 0 {
		state, _ := connectionState(c.nc)
		return time.Time{}, c.front.auth.Certificate(user, creds, state.PeerCertificates)
	}
	return c.front.auth.Token(user, creds, string(m.Password))
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
	if err != nil || topic.Kind != topics.KindTelemetry || topic.DeviceID != c.user.DeviceID {
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
func (c *conn) takeOver(clean bool) error {
	var old *conn
	present := false
	c.front.device(c.client, func(d *deviceState) {
		old = d.conn
		d.conn = c
		present = !clean && d.kept
		if clean {
			d.filters = filters.Set{} // nothing outlives a clean session
		}
		d.kept = !clean
		c.mu.Lock()
		c.clean, c.filters = clean, d.filters
		c.mu.Unlock()
		d.calls.FailAll(iothub.ErrDeviceNotOnline)
		d.queue.Release()
	})
	c.front.started(c)
	c.front.tellPresence(c.user)
	if old != nil {
		old.close(iothub.ErrConnectionForceClosed)
	}
	if err := c.write(func(b []byte) []byte { return mqtt.AppendConnack(b, present, mqtt.Accepted) }); err != nil {
		return err
	}
	if c.subscribed(filters.C2D) {
		return c.deliver()
	}
	return nil
}
