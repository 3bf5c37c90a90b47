package front

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/deviceauth"
	"github.com/twinfleet/twinfleet/internal/hub/devices"
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
	who, err := c.authenticate(&m)
	if err != nil {
		return c.refuse(mqtt.NotAuthorized, err)
	}
	if err := c.front.devices.Admit(c.front.ctx, tier.ClassConnect, 0); err != nil {
		if errors.Is(err, iothub.ErrQuotaExceeded) {
			return c.refuse(c.front.opts.QuotaCode, err)
		}
		return c.refuse(c.front.opts.ThrottledCode, err)
	}
	if c.front.devices.Limits() { // while it waited its token may have expired, and its identity may be another's now
		if err := c.still(&who); err != nil {
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
	if !who.proof.Expiry.IsZero() {
		c.expiry = who.proof.Expiry.Add(c.front.opts.TokenGrace)
	}
	return c.takeOver(&m, who)
}

// proven is who a connection has shown to be.
type proven struct {
	claim devices.Claim // what it showed
	proof devices.Proof
	model string // that it named; empty for none
}

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
	who.claim = devices.Claim{Client: strings.Clone(client), Host: user.Host, Token: string(m.Password)}
	if who.claim.Token == "" {
		who.claim.Chain = deviceauth.Chain(c.nc)
	}
	if model := user.Parameter("model-id"); len(model) > devices.MaxModelID {
		return who, fmt.Errorf("a model id of %d bytes: at most %d are kept", len(model), devices.MaxModelID)
	} else if model != "" {
		who.model = strings.Clone(model)
	}
	if who.proof, err = c.front.devices.Authenticate(who.claim); err != nil {
		return who, err
	}
	// The user name may be long: of it stays what is asked for again.
	c.client, c.auth, c.arrays = who.claim.Client, who.proof.Auth, user.AllowsArrays()
	c.user.DeviceID, c.user.ModuleID, _ = strings.Cut(c.client, "/")
	return who, nil
}

// still is authenticate for who was found to be who it says.
func (c *conn) still(who *proven) (err error) {
	who.proof, err = c.front.devices.Still(who.claim, who.proof)
	return err
}

// will is a message that is sent when its device goes without DISCONNECT.
type will struct {
	bag     topics.Bag
	payload []byte
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
	c.will = &will{bag, bytes.Clone(m.WillPayload)}
	return nil
}

// takeOver makes this the connection of its device: an older one is closed, and a session that is
// not clean gets its filters back. The device hears of it in the same order as others do.
func (c *conn) takeOver(m *mqtt.Connect, who proven) error {
	c.clean = m.CleanSession
	session, err := c.front.devices.Resume(c.client, c, c.clean, func() error { return c.still(&who) })
	c.front.started(c)
	if err != nil {
		return c.refuse(mqtt.NotAuthorized, err)
	}
	err = session.Durable()
	if err == nil && who.model != "" {
		err = c.front.devices.ModelID(c.front.ctx, c.client, who.model)
	}
	if err != nil {
		return c.refuse(mqtt.Unavailable, err)
	}
	// Others find the connection already: they have something to send from when the device is answered.
	c.mu.Lock()
	err = c.send(mqtt.AppendConnack(nil, session.Present, mqtt.Accepted))
	c.filters = session.Filters
	c.mu.Unlock()
	if err != nil {
		return fmt.Errorf("writing to the device: %w", err)
	}
	return c.deliver()
}
