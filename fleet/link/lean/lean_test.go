package lean_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/link/lean"
	"github.com/twinfleet/twinfleet/fleet/link/linktest"
	"github.com/twinfleet/twinfleet/internal/memnet"
	"github.com/twinfleet/twinfleet/internal/mqtt"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func suite() *linktest.Suite {
	return &linktest.Suite{Driver: func() link.Driver { return lean.New() }}
}

func versions() map[string]*linktest.Suite {
	three, five := suite(), suite()
	five.Version = link.V5
	three.Forgetful, five.Forgetful = true, true
	return map[string]*linktest.Suite{"3": three, "5": five}
}

func TestDriver(t *testing.T) { suite().Run(t) }

func TestAgainstMochi(t *testing.T) {
	for name, dial := range linktest.Mochi(t) {
		t.Run(name, func(t *testing.T) { suite().RunBroker(t, dial, "mochi-"+name) })
	}
}

// What paho does not do: MQTT 5, and sessions in both versions.
func TestSessionsAgainstMochi(t *testing.T) {
	for name, dial := range linktest.Mochi(t) {
		for version, s := range versions() {
			t.Run(name+" "+version, func(t *testing.T) {
				t.Parallel()
				if version == "5" {
					s.RunBroker(t, dial, "mochi-"+name+version)
				}
				s.RunKept(t, dial, "mochi-"+name+version)
			})
		}
	}
}

// connacks are the answers of a target, in MQTT 5 with a Receive Maximum of 2.
func connacks() map[link.Version][]byte {
	return map[link.Version][]byte{link.V311: mqtt.AppendConnack(nil, false, 0), link.V5: []byte("\x20\x06\x00\x00\x03\x21\x00\x02")}
}

// What a target never acknowledges does not grow without end: the packet after the ten thousandth is not sent, and waited for as they are.
func TestUnacknowledged(t *testing.T) {
	for version, connack := range connacks() {
		unacknowledged(t, version, connack)
	}
}

func unacknowledged(t *testing.T, version link.Version, connack []byte) {
	near, far := memnet.Pipe()
	defer far.Close()
	if _, err := far.Write(connack); err != nil {
		t.Fatal(err)
	}
	c, err := lean.New().Connect(t.Context(), link.Options{
		ClientID: "dev", Version: version, Dial: func(context.Context) (net.Conn, error) { return near, nil }, Handler: func(link.Message) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	over := make(chan error, 1)
	c.Serve(func(err error) { over <- err })
	ended := 0
	for range 10_000 {
		c.Publish(link.Message{Topic: "a", QoS: 1}, func(error) { ended++ })
	}
	var why error
	c.Publish(link.Message{Topic: "a", QoS: 1}, func(err error) { why = err })
	if ended > 0 || !errors.Is(why, context.DeadlineExceeded) {
		t.Errorf("%d ended, and one more: %v", ended, why)
	}
	for _, qos := range []byte{0, 1} {
		why = nil
		c.Publish(link.Message{Topic: strings.Repeat("a", 65_536), QoS: qos}, func(err error) { why = err })
		if why == nil || errors.Is(why, context.DeadlineExceeded) {
			t.Errorf("a topic that no packet holds, with QoS %d: %v", qos, why)
		}
	}
	c.Publish(link.Message{Topic: "a"}, func(err error) { why = err }) // which nobody acknowledges
	if why != nil {
		t.Errorf("with QoS 0: %v", why)
	}
	c.Abort()
	<-over
	if ended != 10_000 {
		t.Errorf("%d of 10,000 have ended with the connection", ended)
	}
}

func TestFive(t *testing.T) { suite().RunFive(t) }

func TestSessions(t *testing.T) { suite().RunSessions(t) }

// parted is the transport of a target that answered a certificate with an alert, or without a word, and has closed the connection.
type parted struct {
	net.Conn
	said error
}

func (parted) Write([]byte) (int, error)  { return 0, syscall.ECONNRESET }
func (p parted) Read([]byte) (int, error) { return 0, p.said }

// Why a certificate was refused is told, also when the target is gone before it reads the CONNECT.
func TestAlertBeforeConnect(t *testing.T) {
	alert := &net.OpError{Op: "remote error", Err: errors.New("tls: certificate required")}
	for said, want := range map[error]error{alert: alert, io.EOF: syscall.ECONNRESET} {
		_, err := lean.New().Connect(t.Context(), link.Options{
			ClientID: "dev", Handler: func(link.Message) {},
			Dial: func(context.Context) (net.Conn, error) {
				near, _ := memnet.Pipe()
				return parted{near, said}, nil
			},
		})
		if !errors.Is(err, want) {
			t.Errorf("after %v: %v", said, err)
		}
	}
}
