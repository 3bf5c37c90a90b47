package lean_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/link/lean"
	"github.com/twinfleet/twinfleet/internal/memnet"
	"github.com/twinfleet/twinfleet/internal/mqtt"
	"github.com/twinfleet/twinfleet/internal/mqtt/framing"
)

// full is a connection of which the target has read nothing for so long that no message is sent any more.
func full(t *testing.T, version link.Version) (far net.Conn, c link.Conn, over chan error) {
	t.Helper()
	near, far := memnet.Pipe()
	if _, err := far.Write(connacks()[version]); err != nil {
		t.Fatal(err)
	}
	c, err := lean.New().Connect(t.Context(), link.Options{
		ClientID: "dev", Version: version, Dial: func(context.Context) (net.Conn, error) { return near, nil }, Handler: func(link.Message) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	over = make(chan error, 1)
	c.Serve(func(err error) { over <- err })
	c.Publish(link.Message{Topic: "mine", QoS: 2}, func(error) {})
	for range 1000 {
		c.Publish(link.Message{Topic: "mine", Payload: make([]byte, 1<<10)}, func(e error) { err = e })
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a message to a target that does not read: %v", err)
	}
	return far, c, over
}

func publishTo(version link.Version, qos byte, id uint16) []byte {
	b := mqtt.AppendPublish(nil, "a", nil, qos, false, false, id)
	if version == link.V5 {
		b = append(b, 0) // no properties
		b[1]++
	}
	return b
}

// What comes from a target that owes much reading is acknowledged all the same, and its messages go on.
func TestAcknowledgesToFull(t *testing.T) {
	for version := range connacks() {
		synctest.Test(t, func(t *testing.T) {
			far, c, over := full(t, version)
			defer far.Close()
			for _, b := range [][]byte{
				publishTo(version, 1, 7), publishTo(version, 2, 8), mqtt.AppendAck(nil, mqtt.PUBREL, 8), mqtt.AppendAck(nil, mqtt.PUBREC, 1),
			} {
				if _, err := far.Write(b); err != nil {
					t.Fatal(err)
				}
			}
			synctest.Wait()
			c.Close()
			got := make(map[mqtt.Type]int)
			read := framing.NewReader(far)
			for {
				p, err := read.Next()
				if err != nil {
					break
				}
				got[p.Type]++
			}
			for _, kind := range []mqtt.Type{mqtt.PUBACK, mqtt.PUBREC, mqtt.PUBCOMP, mqtt.PUBREL} {
				if got[kind] != 1 {
					t.Errorf("version %d: %d packets of type %d; want 1", version, got[kind], kind)
				}
			}
			<-over
		})
	}
}

// Answers are no reason to grow without end: a target that sends and does not read is given up.
func TestSwamped(t *testing.T) {
	for version := range connacks() {
		synctest.Test(t, func(t *testing.T) {
			far, _, over := full(t, version)
			defer far.Close()
			for i := 0; len(over) == 0 && i < 1_000; i++ {
				var b []byte
				for id := range 1_000 {
					b = append(b, publishTo(version, 1, uint16(id+1))...)
				}
				if _, err := far.Write(b); err != nil {
					break
				}
				synctest.Wait()
			}
			if err := <-over; !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("version %d: it ended with %v", version, err)
			}
		})
	}
}

// A session whose end its target cannot have taken is told to be left, whether the DISCONNECT was not sent, or is dropped with what the target is owed.
func TestEndUnsaid(t *testing.T) {
	for owed, want := range map[int]bool{0: true, 100 << 10: false, 400 << 10: false} {
		synctest.Test(t, func(t *testing.T) {
			near, far := memnet.Pipe()
			defer far.Close()
			if _, err := far.Write(connacks()[link.V5]); err != nil {
				t.Fatal(err)
			}
			c, err := lean.New().Connect(t.Context(), link.Options{
				ClientID: "dev", Version: link.V5, SessionExpiry: time.Hour, Session: new(link.Session),
				Dial: func(context.Context) (net.Conn, error) { return near, nil }, Handler: func(link.Message) {},
			})
			if err != nil {
				t.Fatal(err)
			}
			over := make(chan error, 1)
			c.Serve(func(err error) { over <- err })
			c.Publish(link.Message{Topic: "a", Payload: make([]byte, owed)}, func(error) {})
			c.(link.Ender).End()
			if err := <-over; (err == nil) != want || err != nil && !errors.Is(err, link.ErrLost) {
				t.Errorf("with %d bytes that the target has not read: %v", owed, err)
			}
		})
	}
}
