package paho_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/link/paho"
	"github.com/twinfleet/twinfleet/internal/mqtt"
)

// broker is the other side of one connection, over a pipe: it acknowledges what it is told to.
type broker struct {
	nc      net.Conn
	connect byte // return code of CONNACK
	mute    bool // answers nothing but CONNECT
	refuse  bool // refuses subscriptions

	mu       sync.Mutex
	username string
	password string
	got      []string // topics, with QoS
	farewell bool     // DISCONNECT came
	done     chan struct{}
}

// dial starts the broker on a pipe.
func (b *broker) dial(context.Context) (net.Conn, error) {
	near, far := net.Pipe()
	b.nc, b.done = far, make(chan struct{})
	go func() {
		defer close(b.done)
		b.serve()
	}()
	return near, nil
}

func (b *broker) serve() {
	defer b.nc.Close()
	r := mqtt.NewReader(b.nc)
	for {
		p, err := r.Next()
		if err != nil {
			return
		}
		if answer := b.answer(p); answer != nil {
			if _, err := b.nc.Write(answer); err != nil {
				return
			}
		}
		if p.Type == mqtt.CONNECT && b.connect != 0 {
			return
		}
	}
}

func (b *broker) answer(p mqtt.Packet) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch p.Type {
	case mqtt.CONNECT:
		var c mqtt.Connect
		if err := mqtt.DecodeConnect(p.Body, &c); err != nil {
			panic(err)
		}
		b.username, b.password = string(c.Username), string(c.Password)
		return mqtt.AppendConnack(nil, false, b.connect)
	case mqtt.SUBSCRIBE:
		id, err := mqtt.DecodeSubscribe(p.Body, func(mqtt.Subscription) {})
		if err != nil {
			panic(err)
		}
		if b.mute {
			return nil
		}
		code := byte(0)
		if b.refuse {
			code = 0x80
		}
		return mqtt.AppendSuback(nil, id, code)
	case mqtt.PUBLISH:
		var m mqtt.Publish
		if err := mqtt.DecodePublish(p, &m); err != nil {
			panic(err)
		}
		b.got = append(b.got, fmt.Sprintf("%s qos %d retain %v: %s", m.Topic, m.QoS, m.Retain, m.Payload))
		if b.mute || m.QoS == 0 {
			return nil
		}
		if m.QoS == 2 {
			return mqtt.AppendAck(nil, mqtt.PUBREC, m.PacketID)
		}
		return mqtt.AppendAck(nil, mqtt.PUBACK, m.PacketID)
	case mqtt.PUBREL:
		id, err := mqtt.DecodeAck(p.Body)
		if err != nil {
			panic(err)
		}
		return mqtt.AppendAck(nil, mqtt.PUBCOMP, id)
	case mqtt.PINGREQ:
		if b.mute {
			return nil
		}
		return mqtt.AppendEmpty(nil, mqtt.PINGRESP)
	case mqtt.DISCONNECT:
		b.farewell = true
	}
	return nil
}

// connection is one connection to a broker, and what it told.
type connection struct {
	link.Conn
	lost     chan error
	messages chan link.Message
}

func connect(t *testing.T, b *broker) (*connection, error) {
	t.Helper()
	c := &connection{lost: make(chan error, 2), messages: make(chan link.Message, 10)}
	var err error
	c.Conn, err = paho.New().Connect(t.Context(), link.Options{
		ClientID: "dev", Username: "name", Password: func() string { return "secret" }, KeepAlive: 5 * time.Second, CleanSession: true, Dial: b.dial,
		Handler: func(m link.Message) { c.messages <- m }, Lost: func(err error) { c.lost <- err },
	})
	return c, err
}

// in runs a test in a bubble of virtual time, which also finds every goroutine that is left over.
func in(t *testing.T, name string, b *broker, test func(t *testing.T, b *broker, c *connection)) {
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, err := connect(t, b)
			if err != nil {
				t.Fatal(err)
			}
			test(t, b, c)
			<-b.done
			time.Sleep(time.Minute) // the client ends some of its goroutines in its own time
		})
	})
}

func TestPublish(t *testing.T) {
	in(t, "every quality of service is acknowledged once", &broker{}, func(t *testing.T, b *broker, c *connection) {
		done := make(chan error, 10)
		for qos := range byte(3) {
			c.Publish(link.Message{Topic: "t", Payload: []byte("x"), QoS: qos, Retain: qos == 1}, func(err error) { done <- err })
			if err := <-done; err != nil {
				t.Errorf("QoS %d: %v", qos, err)
			}
		}
		synctest.Wait()
		c.Close()
		<-b.done
		if len(done) != 0 {
			t.Error("a message was done twice")
		}
		want := "[t qos 0 retain false: x t qos 1 retain true: x t qos 2 retain false: x]"
		if got := fmt.Sprint(b.got); got != want || !b.farewell || b.username != "name" || b.password != "secret" {
			t.Errorf("the broker got %s, farewell %v, from %q with %q; want %s", got, b.farewell, b.username, b.password, want)
		}
		if len(c.lost) != 0 {
			t.Error("a connection that was closed counts as lost")
		}
	})
	in(t, "what is not acknowledged is lost with its connection", &broker{mute: true}, func(t *testing.T, b *broker, c *connection) {
		done := make(chan error, 10)
		for range 3 {
			c.Publish(link.Message{Topic: "t", QoS: 1}, func(err error) { done <- err })
		}
		synctest.Wait()
		if len(done) != 0 {
			t.Fatal("done without an acknowledgement")
		}
		b.nc.Close()
		for range 3 {
			if err := <-done; !errors.Is(err, link.ErrLost) {
				t.Errorf("done with %v; want %v", err, link.ErrLost)
			}
		}
		if err := <-c.lost; err == nil {
			t.Error("lost without a reason")
		}
		c.Publish(link.Message{Topic: "t", QoS: 1}, func(err error) { done <- err })
		if err := <-done; !errors.Is(err, link.ErrLost) {
			t.Errorf("publishing on a lost connection: %v", err)
		}
		c.Abort()
		synctest.Wait()
		if len(c.lost) != 0 || len(done) != 0 {
			t.Error("told twice")
		}
	})
	in(t, "what is not acknowledged is lost when the connection is cut", &broker{mute: true}, func(t *testing.T, b *broker, c *connection) {
		done := make(chan error, 1)
		c.Publish(link.Message{Topic: "t", QoS: 1}, func(err error) { done <- err })
		synctest.Wait()
		c.Abort()
		if err := <-done; !errors.Is(err, link.ErrLost) {
			t.Errorf("done with %v; want %v", err, link.ErrLost)
		}
		<-b.done
		if b.farewell || len(c.lost) != 0 {
			t.Errorf("farewell %v, lost %d: a cut says nothing to either side", b.farewell, len(c.lost))
		}
	})
	in(t, "a broker that has died is noticed in two keep-alives", &broker{mute: true}, func(t *testing.T, _ *broker, c *connection) {
		began := time.Now()
		<-c.lost
		if took := time.Since(began); took > 12*time.Second {
			t.Errorf("noticed after %v with a keep-alive of 5s", took)
		}
		c.Abort()
	})
}

func TestSubscribe(t *testing.T) {
	in(t, "messages arrive", &broker{}, func(t *testing.T, b *broker, c *connection) {
		if err := c.Subscribe(t.Context(), link.Filter{Topic: "a/#", QoS: 1}); err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			if _, err := b.nc.Write(mqtt.AppendPublish(nil, "a/b", fmt.Appendf(nil, "%d", i), 0, i == 2, false, 0)); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 3 {
			if m := <-c.messages; m.Topic != "a/b" || string(m.Payload) != fmt.Sprint(i) || m.Retain != (i == 2) {
				t.Errorf("message %d: %+v", i, m)
			}
		}
		c.Close()
	})
	in(t, "a refused filter is an error", &broker{refuse: true}, func(t *testing.T, _ *broker, c *connection) {
		if err := c.Subscribe(t.Context(), link.Filter{Topic: "a"}); !errors.Is(err, link.ErrSubscription) {
			t.Errorf("subscribing: %v; want %v", err, link.ErrSubscription)
		}
		c.Close()
	})
	in(t, "a connection that ends first is an error", &broker{mute: true}, func(t *testing.T, b *broker, c *connection) {
		subscribed := make(chan error)
		go func() { subscribed <- c.Subscribe(t.Context(), link.Filter{Topic: "a"}) }()
		synctest.Wait()
		b.nc.Close()
		if err := <-subscribed; !errors.Is(err, link.ErrLost) {
			t.Errorf("subscribing: %v; want %v", err, link.ErrLost)
		}
		c.Abort()
	})
}

func TestRefusedConnections(t *testing.T) {
	for code := byte(1); code <= 5; code++ {
		synctest.Test(t, func(t *testing.T) {
			b := &broker{connect: code}
			_, err := connect(t, b)
			var refused *link.RefusedError
			if !errors.As(err, &refused) || refused.Code != code {
				t.Errorf("return code %d: %v", code, err)
			}
			<-b.done
			time.Sleep(time.Minute)
		})
	}
}

// A target that cannot be reached, and one that says nothing, are errors in bounded time.
func TestNoConnection(t *testing.T) {
	nowhere := errors.New("no route to host")
	for name, tt := range map[string]struct {
		dial func(context.Context) (net.Conn, error)
		want error
		took time.Duration
	}{
		"no target": {func(context.Context) (net.Conn, error) { return nil, nowhere }, nowhere, 0},
		"no answer to the dial": {func(ctx context.Context) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}, context.DeadlineExceeded, 3 * time.Second},
		"no answer to CONNECT": {func(context.Context) (net.Conn, error) {
			near, far := net.Pipe()
			go func() {
				buf := make([]byte, 1000)
				for {
					if _, err := far.Read(buf); err != nil {
						return
					}
				}
			}()
			return near, nil
		}, context.DeadlineExceeded, 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				began := time.Now()
				_, err := paho.New().Connect(ctx, link.Options{ClientID: "dev", KeepAlive: time.Minute, Dial: tt.dial, Handler: func(link.Message) {}, Lost: func(error) { t.Error("lost before it was there") }})
				if !errors.Is(err, tt.want) || time.Since(began) != tt.took {
					t.Errorf("connecting: %v after %v; want %v after %v", err, time.Since(began), tt.want, tt.took)
				}
				time.Sleep(time.Minute)
			})
		})
	}
}
