// Package linktest is what every driver is held to.
package linktest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/internal/memnet"
	"github.com/twinfleet/twinfleet/internal/mqtt"
	"github.com/twinfleet/twinfleet/internal/mqtt/framing"
	"github.com/twinfleet/twinfleet/metrics/reason"
	"github.com/twinfleet/twinfleet/test/loopback"
)

// Suite is what every driver of connections is held to.
type Suite struct {
	Driver  func() link.Driver // makes one, in the bubble of a test in virtual time
	Version link.Version       // of MQTT, to a real broker
	// Forgetful is a real broker that may lose a message with QoS 2 when its connection is cut before PUBREC: mochi-mqtt 2.7.9 notes that
	// it has it, and hands it on only when PUBREC is written.
	Forgetful bool
	// Wordless is a real broker that ends a connection that another took over without a DISCONNECT: Mosquitto 2.0.11.
	Wordless bool
}

// Run runs it.
func (s *Suite) Run(t *testing.T) {
	for name, test := range map[string]func(*testing.T){
		"publish": s.publish, "subscribe": s.subscribe, "refused connections": s.refusedConnections, "no connection": s.noConnection,
		"a transport that is not there in time": s.dialledTooLong, "answers to CONNECT": s.answersToConnect, "the last words of a target that hangs up": s.lastWords,
	} {
		t.Run(name, test)
	}
}

// slowProxy is the error of a transport that knows who did not answer in time.
type slowProxy struct{}

func (slowProxy) Error() string  { return "dial proxy: timed out" }
func (slowProxy) Reason() string { return "the proxy does not answer in time" }
func (slowProxy) Unwrap() error  { return context.DeadlineExceeded }

// dialledTooLong holds drivers to what their transport says of a time that is over.
func (s *Suite) dialledTooLong(t *testing.T) {
	for want, known := range map[string]error{"the proxy does not answer in time": slowProxy{}, reason.NoAnswer: errors.New("another")} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		_, err := s.Driver().Connect(ctx, link.Options{ClientID: "dev", Handler: func(link.Message) {}, Dial: func(ctx context.Context) (net.Conn, error) {
			<-ctx.Done()
			return nil, known
		}})
		cancel()
		if reason.Of(err) != want || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v; want %s", err, want)
		}
	}
}

// Broker is the other side of one connection, over a pipe: it acknowledges what it is told to.
type Broker struct {
	nc      net.Conn
	connect byte // return code of CONNACK
	mute    bool // answers nothing but CONNECT
	refuse  byte // return code of SUBACK
	codes   int  // in a SUBACK; one when 0
	grant   byte // the quality of service in them

	mu       sync.Mutex
	username string
	password string
	got      []string // topics, with QoS
	farewell bool     // DISCONNECT came
	done     chan struct{}
}

// Dial starts the broker on a pipe.
func (b *Broker) Dial(context.Context) (net.Conn, error) {
	near, far := net.Pipe()
	b.nc, b.done = far, make(chan struct{})
	go func() {
		defer close(b.done)
		b.serve()
	}()
	return near, nil
}

// Wait waits until the connection has ended.
func (b *Broker) Wait() { <-b.done }

func (b *Broker) serve() {
	defer b.nc.Close()
	r := framing.NewReader(b.nc)
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

func (b *Broker) answer(p mqtt.Packet) []byte {
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
		code := b.grant
		if b.refuse != 0 {
			code = b.refuse
		}
		return mqtt.AppendSuback(nil, id, slices.Repeat([]byte{code}, max(1, b.codes))...)
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
	served   chan struct{}
}

// subscribe waits for the answer to Subscribe.
func (c *connection) subscribe(filters ...link.Filter) error {
	done := make(chan error, 2)
	c.Subscribe(func(err error) { done <- err }, filters...)
	return <-done
}

// Close closes the connection and waits for its end.
func (c *connection) Close() {
	c.Conn.Close()
	<-c.served
}

// Abort cuts the connection and waits for its end.
func (c *connection) Abort() {
	c.Conn.Abort()
	<-c.served
}

func (s *Suite) connect(t *testing.T, b *Broker) (*connection, error) {
	t.Helper()
	c := &connection{lost: make(chan error, 2), messages: make(chan link.Message, 10)}
	var err error
	c.Conn, err = s.Driver().Connect(t.Context(), link.Options{
		ClientID: "dev", Username: "name", Password: func() string { return "secret" }, KeepAlive: 5 * time.Second, CleanSession: true, Dial: b.Dial,
		Handler: func(m link.Message) {
			m.Topic, m.Payload = strings.Clone(m.Topic), bytes.Clone(m.Payload)
			c.messages <- m
		},
	})
	if err == nil {
		c.served = make(chan struct{})
		c.Serve(func(err error) {
			if err != nil {
				c.lost <- err
			}
			close(c.served)
		})
	}
	return c, err
}

// in runs a test in a bubble of virtual time, which also finds every goroutine that is left over.
func (s *Suite) in(t *testing.T, name string, b *Broker, test func(t *testing.T, b *Broker, c *connection)) {
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, err := s.connect(t, b)
			if err != nil {
				t.Fatal(err)
			}
			test(t, b, c)
			<-b.done
			time.Sleep(time.Minute) // the client ends some of its goroutines in its own time
		})
	})
}

func (s *Suite) publish(t *testing.T) {
	s.in(t, "every quality of service is acknowledged once", &Broker{}, func(t *testing.T, b *Broker, c *connection) {
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
	s.in(t, "what is not acknowledged is lost with its connection", &Broker{mute: true}, func(t *testing.T, b *Broker, c *connection) {
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
	s.in(t, "what is not acknowledged is lost when the connection is cut", &Broker{mute: true}, func(t *testing.T, b *Broker, c *connection) {
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
	s.in(t, "a broker that has died is noticed in two keep-alives", &Broker{mute: true}, func(t *testing.T, _ *Broker, c *connection) {
		began := time.Now()
		<-c.lost
		if took := time.Since(began); took > 12*time.Second {
			t.Errorf("noticed after %v with a keep-alive of 5s", took)
		}
		c.Abort()
	})
}

func (s *Suite) subscribe(t *testing.T) {
	s.in(t, "messages arrive", &Broker{grant: 2}, func(t *testing.T, b *Broker, c *connection) {
		if err := c.subscribe(link.Filter{Topic: "a/#", QoS: 1}); err != nil {
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
	for code, want := range map[byte]string{
		3: "a topic filter was refused (return code 3)", 0x7f: "a topic filter was refused (return code 127)", 0x80: "a topic filter was refused",
		135: "a topic filter was refused: not authorized (return code 135)", 255: "a topic filter was refused (return code 255)",
	} {
		s.in(t, want, &Broker{refuse: code}, func(t *testing.T, _ *Broker, c *connection) {
			if err := c.subscribe(link.Filter{Topic: "a"}); !errors.Is(err, link.ErrSubscription) || reason.Of(err) != want {
				t.Errorf("subscribing: %v; want %v", err, want)
			}
			c.Close()
		})
	}
	for granted, want := range []string{"the target granted QoS 0 where QoS 1 was asked for", "", ""} {
		s.in(t, fmt.Sprintf("granted QoS %d", granted), &Broker{grant: byte(granted)}, func(t *testing.T, _ *Broker, c *connection) {
			err := c.subscribe(link.Filter{Topic: "a", QoS: 1})
			if reason.Of(err) != want || err != nil && !errors.As(err, new(*link.LoweredError)) {
				t.Errorf("subscribing: %v; want %v", err, want)
			}
			c.Close()
		})
	}
	s.in(t, "more return codes than filters", &Broker{codes: 3}, func(t *testing.T, _ *Broker, c *connection) {
		if err := c.subscribe(link.Filter{Topic: "a"}, link.Filter{Topic: "b"}); !errors.Is(err, link.ErrSuback) {
			t.Errorf("subscribing: %v; want %v", err, link.ErrSuback)
		}
		c.Abort()
	})
	s.in(t, "fewer return codes than filters", &Broker{codes: 1}, func(t *testing.T, _ *Broker, c *connection) {
		if err := c.subscribe(link.Filter{Topic: "a"}, link.Filter{Topic: "b"}); !errors.Is(err, link.ErrSuback) {
			t.Errorf("subscribing: %v; want %v", err, link.ErrSuback)
		}
		c.Abort()
	})
	s.in(t, "a packet that is too large is not made room for", &Broker{}, func(t *testing.T, b *Broker, c *connection) {
		if _, err := b.nc.Write([]byte{0x30, 0xff, 0xff, 0xff, 0x7f}); err != nil { // 268,435,455 bytes
			t.Fatal(err)
		}
		if err := <-c.lost; !errors.Is(err, link.ErrPacketSize) {
			t.Errorf("lost with %v; want %v", err, link.ErrPacketSize)
		}
		c.Abort()
	})
	s.in(t, "a large packet arrives", &Broker{}, func(t *testing.T, b *Broker, c *connection) {
		payload := make([]byte, 4<<20-100)
		if _, err := b.nc.Write(mqtt.AppendPublish(nil, "a", payload, 0, false, false, 0)); err != nil {
			t.Fatal(err)
		}
		if m := <-c.messages; len(m.Payload) != len(payload) {
			t.Errorf("%d bytes arrived of %d", len(m.Payload), len(payload))
		}
		c.Close()
	})
	s.in(t, "a connection that ends first is an error", &Broker{mute: true}, func(t *testing.T, b *Broker, c *connection) {
		subscribed := make(chan error)
		go func() { subscribed <- c.subscribe(link.Filter{Topic: "a"}) }()
		synctest.Wait()
		b.nc.Close()
		if err := <-subscribed; !errors.Is(err, link.ErrLost) {
			t.Errorf("subscribing: %v; want %v", err, link.ErrLost)
		}
		c.Abort()
	})
}

// Every return code but 0 is a refusal, those that the client does not know and those that it uses itself among them.
func (s *Suite) refusedConnections(t *testing.T) {
	for code := 1; code <= 255; code++ {
		synctest.Test(t, func(t *testing.T) {
			b := &Broker{connect: byte(code)}
			c, err := s.connect(t, b)
			var refused *link.RefusedError
			if !errors.As(err, &refused) || int(refused.Code) != code || !strings.Contains(err.Error(), fmt.Sprintf("(return code %d)", code)) {
				t.Errorf("return code %d: %v", code, err)
			}
			<-b.done
			time.Sleep(time.Minute)
			if len(c.lost) != 0 {
				t.Errorf("return code %d: lost what was never there", code)
			}
		})
	}
}

// A target that cannot be reached, and one that says nothing, are errors in bounded time.
func (s *Suite) noConnection(t *testing.T) {
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
			go func() { _, _ = io.Copy(io.Discard, far) }()
			return near, nil
		}, context.DeadlineExceeded, 3 * time.Second},
		"nobody reads CONNECT": {func(context.Context) (net.Conn, error) {
			near, _ := net.Pipe()
			return near, nil
		}, context.DeadlineExceeded, 3 * time.Second},
		"no end of CONNACK": {func(context.Context) (net.Conn, error) {
			near, far := net.Pipe()
			go func() {
				go func() { _, _ = io.Copy(io.Discard, far) }()
				_, _ = far.Write([]byte{0x20, 0x02, 0x00})
			}()
			return near, nil
		}, context.DeadlineExceeded, 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				began := time.Now()
				_, err := s.Driver().Connect(ctx, link.Options{
					ClientID: "dev", KeepAlive: time.Minute, Dial: tt.dial, Handler: func(link.Message) {},
				})
				if !errors.Is(err, tt.want) || time.Since(began) != tt.took {
					t.Errorf("connecting: %v after %v; want %v after %v", err, time.Since(began), tt.want, tt.took)
				}
				time.Sleep(time.Minute)
			})
		})
	}
}

// answering is a raw server over TCP that gives every CONNECT one answer and hangs up after a while.
func answering(t *testing.T, answer string) func(context.Context) (net.Conn, error) {
	t.Helper()
	return link.TCP(loopback.Serve(t, func(nc net.Conn) {
		if _, err := framing.NewReader(nc).Next(); err != nil {
			return
		}
		_, _ = nc.Write([]byte(answer))
		if answer != "" {
			_, _ = io.Copy(io.Discard, nc) // until the other side has had enough
		}
	}))
}

// What answers CONNECT is told by name, over real sockets.
func (s *Suite) answersToConnect(t *testing.T) {
	for want, answer := range map[string]string{
		"connection refused (return code 6)":                                 "\x20\x02\x00\x06",
		"connection refused (return code 7)":                                 "\x20\x02\x00\x07",
		"connection refused: unspecified error (return code 128)":            "\x20\x02\x00\x80",
		"connection refused: client identifier not valid (return code 133)":  "\x20\x02\x00\x85",
		"connection refused: not authorized (return code 135)":               "\x20\x02\x00\x87",
		"connection refused: quota exceeded (return code 151)":               "\x20\x02\x00\x97",
		"connection refused (return code 200)":                               "\x20\x02\x00\xc8",
		"connection refused: unsupported protocol version (return code 132)": "\x20\x03\x00\x84\x00", // as MQTT 5 has it
		"the target closed the connection before CONNACK":                    "",
		"the target speaks TLS, not plain MQTT":                              "\x15\x03\x01\x00\x02\x02\x0a",
		"the target speaks HTTP, not MQTT":                                   "HTTP/1.1 400 Bad Request\r\n\r\n",
		"the target does not speak MQTT":                                     "SSH-2.0-OpenSSH_9.9\r\n",
		"the target sent a packet over 4 MiB":                                "\x20\xff\xff\xff\x7f",
	} {
		t.Run(want, func(t *testing.T) {
			c, err := s.Driver().Connect(t.Context(), link.Options{
				ClientID: "dev", KeepAlive: time.Minute, Dial: answering(t, answer), Handler: func(link.Message) {},
			})
			if c != nil || reason.Of(err) != want {
				t.Errorf("%q: %v", reason.Of(err), err)
			}
		})
	}
}

// lastWords come together with the end: both are told, over sockets and in memory.
func (s *Suite) lastWords(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for name, pair := range map[string]func() (near, far net.Conn){
		"memory": memnet.Pipe,
		"tcp": func() (near, far net.Conn) {
			near, err := link.TCP(l.Addr().String())(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			far, err = l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			return near, far
		},
	} {
		t.Run(name, func(t *testing.T) {
			for range 20 { // however the two meet
				near, far := pair()
				if _, err := far.Write(mqtt.AppendConnack(nil, false, 0)); err != nil {
					t.Fatal(err)
				}
				words, over := make(chan string, 1), make(chan error, 1)
				c, err := s.Driver().Connect(t.Context(), link.Options{
					ClientID: "dev", KeepAlive: time.Hour, Dial: func(context.Context) (net.Conn, error) { return near, nil },
					Handler: func(m link.Message) { words <- string(m.Payload) },
				})
				if err != nil {
					t.Fatal(err)
				}
				c.Serve(func(err error) { over <- err })
				if _, err := far.Write(mqtt.AppendPublish(nil, "a", []byte("last"), 0, false, false, 0)); err != nil {
					t.Fatal(err)
				}
				far.Close()
				for _, told := range []func() bool{
					func() bool { return <-words == "last" }, func() bool { return <-over != nil },
				} {
					heard := make(chan bool, 1)
					go func() { heard <- told() }()
					select {
					case ok := <-heard:
						if !ok {
							t.Fatal("told something else")
						}
					case <-time.After(patience):
						t.Fatal("nothing is told")
					}
				}
			}
		})
	}
}
