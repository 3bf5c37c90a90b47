package paho_test

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/link/linktest"
	"github.com/twinfleet/twinfleet/fleet/link/paho"
)

// late is a transport whose writer waits: before its writes, as one that has no turn on a busy machine, or in them.
type late struct {
	net.Conn
	before, in atomic.Int64 // so long, once
}

func (l *late) SetWriteDeadline(t time.Time) error {
	time.Sleep(time.Duration(l.before.Swap(0)))
	return l.Conn.SetWriteDeadline(t)
}

func (l *late) Write(p []byte) (int, error) {
	time.Sleep(time.Duration(l.in.Swap(0)))
	return l.Conn.Write(p)
}

// What a busy machine has not sent yet is sent late, and not lost: it would count as what the target did not answer. What
// the target does not read is given up soon.
func TestHandingToABusyWriter(t *testing.T) {
	for name, tt := range map[string]struct {
		wait func(l *late) *atomic.Int64
		took time.Duration // until the last message was given to the writer, or given up
		want error
	}{
		"no turn yet":           {func(l *late) *atomic.Int64 { return &l.before }, 5 * time.Second, nil},
		"the target reads late": {func(l *late) *atomic.Int64 { return &l.in }, time.Second, context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, l := &linktest.Broker{}, &late{}
				c, err := paho.New().Connect(t.Context(), link.Options{
					ClientID: "dev", KeepAlive: time.Minute, CleanSession: true, Handler: func(link.Message) {},
					Dial: func(ctx context.Context) (net.Conn, error) {
						var err error
						l.Conn, err = b.Dial(ctx)
						return l, err
					},
				})
				if err != nil {
					t.Fatal(err)
				}
				lost := make(chan error, 1)
				c.Serve(func(err error) { lost <- err })
				tt.wait(l).Store(int64(5 * time.Second))
				taken, last := make(chan error, 2), make(chan error, 1)
				for range cap(taken) { // one that the writer has, and one before it
					c.Publish(link.Message{Topic: "a", QoS: 1}, func(err error) { taken <- err })
					synctest.Wait()
				}
				began := time.Now()
				c.Publish(link.Message{Topic: "b", QoS: 1}, func(err error) { last <- err })
				if took := time.Since(began); took < tt.took || took > tt.took+time.Second {
					t.Errorf("handing took %v; want %v", took, tt.took)
				}
				if err := <-last; !errors.Is(err, tt.want) {
					t.Errorf("the last message: %v; want %v", err, tt.want)
				}
				for range cap(taken) {
					if err := <-taken; err != nil {
						t.Errorf("a message before it: %v", err)
					}
				}
				c.Close()
				if err := <-lost; err != nil {
					t.Errorf("lost: %v", err)
				}
				b.Wait()
				time.Sleep(time.Minute)
			})
		})
	}
}
