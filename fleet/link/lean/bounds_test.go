package lean_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/link/lean"
	"github.com/twinfleet/twinfleet/internal/memnet"
	"github.com/twinfleet/twinfleet/internal/mqtt"
)

// What is kept for a target that reads and does not acknowledge is bounded by its bytes as well, and has room for one message of any size.
func TestUnacknowledgedBytes(t *testing.T) {
	for version, connack := range connacks() {
		synctest.Test(t, func(t *testing.T) {
			near, far := memnet.Pipe()
			if _, err := far.Write(connack); err != nil {
				t.Fatal(err)
			}
			c, err := lean.New().Connect(t.Context(), link.Options{
				ClientID: "dev", Version: version, SessionExpiry: time.Hour, Session: new(link.Session),
				Dial: func(context.Context) (net.Conn, error) { return near, nil }, Handler: func(link.Message) {},
			})
			if err != nil {
				t.Fatal(err)
			}
			over, reading := make(chan error, 1), make(chan struct{})
			c.Serve(func(err error) { over <- err })
			go func() {
				defer close(reading)
				_, _ = io.Copy(io.Discard, far)
			}()
			publish := func(size int) bool {
				var why error
				c.Publish(link.Message{Topic: "a", Payload: make([]byte, size), QoS: 1}, func(err error) { why = err })
				synctest.Wait()
				if why != nil && !errors.Is(why, context.DeadlineExceeded) {
					t.Errorf("version %d: %v", version, why)
				}
				return why == nil
			}
			ack := func(id uint16) {
				if _, err := far.Write(mqtt.AppendAck(nil, mqtt.PUBACK, id)); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
			}
			for i, step := range []struct {
				ack  uint16
				size int
				ok   bool
			}{{0, 3 << 20, true}, {0, 1, false}, {1, 400 << 10, true}, {0, 400 << 10, true}, {0, 400 << 10, false}, {0, 100 << 10, true}, {2, 400 << 10, true}} {
				if step.ack > 0 {
					ack(step.ack)
				}
				if got := publish(step.size); got != step.ok {
					t.Errorf("version %d, step %d: a message of %d bytes was taken: %v", version, i, step.size, got)
				}
			}
			c.Abort()
			<-over
			far.Close()
			<-reading
		})
	}
}

// A CONNECT that no packet holds is said at once, and not waited for.
func TestConnectThatDoesNotFit(t *testing.T) {
	for version := range connacks() {
		near, far := memnet.Pipe()
		_, err := lean.New().Connect(t.Context(), link.Options{
			ClientID: "dev", Version: version, Password: func() string { return strings.Repeat("s3cret", 11_000) },
			Dial: func(context.Context) (net.Conn, error) { return near, nil }, Handler: func(link.Message) {},
		})
		far.Close()
		if err == nil || !strings.Contains(err.Error(), "65,535 bytes") || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("version %d: %v", version, err)
		}
	}
}
