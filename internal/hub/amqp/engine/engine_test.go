package engine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	client "github.com/Azure/go-amqp"
	"go.uber.org/goleak"

	"github.com/twinfleet/twinfleet/internal/amqp"
	"github.com/twinfleet/twinfleet/internal/hub/amqp/engine"
	"github.com/twinfleet/twinfleet/internal/memnet"
	"github.com/twinfleet/twinfleet/internal/nowait"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// user is what is behind the links of these tests: "in" keeps what comes, "echo/x" sends to the receivers of x what comes, "out" sends what
// the test has; anything else is not found.
type user struct {
	conn *engine.Conn
	hub  *hub
}

type hub struct {
	known  bool // everybody is, from the start
	server *engine.Server
	credit uint32
	mute   bool // links leave deliveries unanswered

	mu       sync.Mutex
	conns    []*engine.Conn
	got      [][]byte
	outcomes []engine.Outcome
	over     []string
	ended    []error
	alarms   int
	attached int // links that were granted
	links    map[string]*engine.Link
}

func newHub(t *testing.T, o engine.Options) *hub {
	t.Helper()
	h := &hub{credit: 100, links: make(map[string]*engine.Link)}
	o.User = func(c *engine.Conn) engine.User {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.conns = append(h.conns, c)
		return &user{c, h}
	}
	h.server = engine.New(o)
	t.Cleanup(h.server.Close)
	return h
}

func (u *user) Plain(name, password string) error {
	if name+password != "mesecret" {
		return errors.New("no")
	}
	u.conn.Identified()
	return nil
}

func (u *user) External() error { return errors.New("no certificate") }
func (u *user) Opened() {
	if u.hub.known {
		u.conn.Identified()
	}
}

func (u *user) Alarm() {
	u.hub.mu.Lock()
	defer u.hub.mu.Unlock()
	u.hub.alarms++
}

func (u *user) Ended(why error) {
	u.hub.mu.Lock()
	defer u.hub.mu.Unlock()
	u.hub.ended = append(u.hub.ended, why)
}

func (u *user) Attach(l *engine.Link, a *amqp.Attach) (engine.Grant, error) {
	address, _ := a.Source.Address.Text()
	if a.Role == amqp.RoleSender {
		address, _ = a.Target.Address.Text()
	}
	if strings.HasPrefix(address, "no") {
		return engine.Grant{}, &amqp.Error{Condition: amqp.NotFound, Description: "nothing there"}
	}
	u.hub.mu.Lock()
	defer u.hub.mu.Unlock()
	u.hub.links[fmt.Sprint(address, a.Role)] = l
	u.hub.attached++
	return engine.Grant{
		Handler: &handler{link: l, hub: u.hub, address: address}, Credit: u.hub.credit,
		SndSettleMode: amqp.ModeUnset, RcvSettleMode: amqp.ModeUnset,
	}, nil
}

type handler struct {
	engine.Ignore
	link    *engine.Link
	hub     *hub
	address string
}

func (h *handler) Deliver(d engine.Delivery) {
	h.hub.mu.Lock()
	h.hub.got = append(h.hub.got, bytes.Clone(d.Payload))
	back := h.hub.links[fmt.Sprint(h.address, true)]
	mute := h.hub.mute
	h.hub.mu.Unlock()
	if mute {
		return
	}
	state := amqp.State{Code: amqp.Accepted}
	if back != nil {
		if err := back.Post(d.Payload); err != nil {
			state = amqp.State{Code: amqp.Rejected, Error: &amqp.Error{Condition: amqp.InternalError, Description: err.Error()}}
		}
	}
	h.link.Settle(d, state)
}

func (h *handler) Outcome(o engine.Outcome) amqp.State {
	h.hub.mu.Lock()
	defer h.hub.mu.Unlock()
	h.hub.outcomes = append(h.hub.outcomes, o)
	return o.State
}

func (h *handler) Detached() {
	h.hub.mu.Lock()
	defer h.hub.mu.Unlock()
	h.hub.over = append(h.hub.over, h.address)
}

// slow is a connection that no poller can watch.
type slow struct{ net.Conn }

// transports are the ways to a hub: watched in memory, with a goroutine in memory, and over TCP.
func transports(t *testing.T, run func(t *testing.T, dial func(h *hub) net.Conn)) {
	t.Run("memory", func(t *testing.T) {
		run(t, func(h *hub) net.Conn {
			a, b := memnet.Pipe()
			h.server.Take(b)
			return a
		})
	})
	t.Run("goroutine", func(t *testing.T) {
		run(t, func(h *hub) net.Conn {
			a, b := memnet.Pipe()
			h.server.Accept(slow{b})
			return a
		})
	})
	t.Run("tcp", func(t *testing.T) {
		run(t, func(h *hub) net.Conn {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			a, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			b, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			h.server.Take(nowait.TCP(b))
			return a
		})
	})
}

func connect(t *testing.T, nc net.Conn, o *client.ConnOptions) *client.Conn {
	t.Helper()
	c, err := client.NewConn(t.Context(), nc, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func session(t *testing.T, c *client.Conn) *client.Session {
	t.Helper()
	s, err := c.NewSession(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// What a client of Microsoft's sends comes whole, whatever its size, is accepted, and comes back whole.
func TestDeliveriesOfAllSizes(t *testing.T) {
	transports(t, func(t *testing.T, dial func(*hub) net.Conn) {
		h := newHub(t, engine.Options{})
		h.known = true
		c := connect(t, dial(h), &client.ConnOptions{MaxFrameSize: 4096})
		s := session(t, c)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		r, err := s.NewReceiver(ctx, "echo", &client.ReceiverOptions{Credit: 10})
		if err != nil {
			t.Fatal(err)
		}
		snd, err := s.NewSender(ctx, "echo", nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []int{0, 1, 3000, 4000, 4096, 65536, 200_000, 1_000_000} {
			want := bytes.Repeat([]byte{byte(n)}, n)
			if err := snd.Send(ctx, client.NewMessage(want), nil); err != nil {
				t.Fatalf("%d bytes: %v", n, err)
			}
			m, err := r.Receive(ctx, nil)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(m.GetData(), want) {
				t.Errorf("%d bytes came back as %d", n, len(m.GetData()))
			}
		}
		for range 1000 { // more than the credit of either
			if err := snd.Send(ctx, client.NewMessage([]byte("x")), nil); err != nil {
				t.Fatal(err)
			}
			if _, err := r.Receive(ctx, nil); err != nil {
				t.Fatal(err)
			}
		}
		// More than a delivery may have ends the link, and only that.
		err = snd.Send(ctx, client.NewMessage(make([]byte, 1<<20)), nil)
		var gone *client.Error
		if !errors.As(err, &gone) {
			t.Errorf("a delivery that is too large: %v", err)
		}
		if err := r.Close(ctx); err != nil {
			t.Error(err)
		}
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}

// Links that are refused, credentials that are not, sessions in a row on one channel.
func TestGoAMQPClient(t *testing.T) {
	transports(t, func(t *testing.T, dial func(*hub) net.Conn) {
		h := newHub(t, engine.Options{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := client.NewConn(ctx, dial(h), &client.ConnOptions{SASLType: client.SASLTypePlain("me", "wrong")}); err == nil {
			t.Error("a wrong password is good enough")
		}
		c := connect(t, dial(h), &client.ConnOptions{SASLType: client.SASLTypePlain("me", "secret"), HostName: "myhub"})
		for range 20 {
			s := session(t, c)
			for _, address := range []string{"nowhere", "nobody"} {
				var refused *client.Error
				if _, err := s.NewSender(ctx, address, nil); !errors.As(err, &refused) || refused.Condition != amqp.NotFound {
					t.Fatalf("a sender to %s: %v", address, err)
				}
				if _, err := s.NewReceiver(ctx, address, nil); !errors.As(err, &refused) || refused.Condition != amqp.NotFound {
					t.Fatalf("a receiver from %s: %v", address, err)
				}
			}
			snd, err := s.NewSender(ctx, "in", nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := snd.Send(ctx, client.NewMessage([]byte("m")), nil); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(ctx); err != nil {
				t.Fatal(err)
			}
		}
		h.mu.Lock()
		if len(h.over) != 20 || len(h.got) != 20 {
			t.Errorf("%d links are over, %d messages came; want 20 each", len(h.over), len(h.got))
		}
		if p := h.conns[len(h.conns)-1].Peer(); p.Host != "myhub" || p.Container == "" {
			t.Errorf("the peer is %+v", p)
		}
		h.mu.Unlock()
		c.Close()
		c = connect(t, dial(h), &client.ConnOptions{SASLType: client.SASLTypeAnonymous()})
		c.Close()
	})
}

// Every outcome that a receiver tells comes, in first mode and in second, where it is answered.
func TestOutcomes(t *testing.T) {
	transports(t, func(t *testing.T, dial func(*hub) net.Conn) {
		for _, mode := range []client.ReceiverSettleMode{client.ReceiverSettleModeFirst, client.ReceiverSettleModeSecond} {
			h := newHub(t, engine.Options{})
			c := connect(t, dial(h), nil)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			r, err := session(t, c).NewReceiver(ctx, "out", &client.ReceiverOptions{Credit: 5, SettlementMode: &mode})
			if err != nil {
				t.Fatal(err)
			}
			l := h.link("out", true)
			for l.Credit() < 5 {
				time.Sleep(time.Millisecond)
			}
			for i := range 4 {
				if _, err := l.Send(fmt.Sprint("tag", i), false, amqp.AppendData(nil, []byte{byte(i)})); err != nil {
					t.Fatal(err)
				}
			}
			for i := range 4 {
				m, err := r.Receive(ctx, nil)
				if err != nil {
					t.Fatal(err)
				}
				switch i {
				case 0:
					err = r.AcceptMessage(ctx, m)
				case 1:
					err = r.RejectMessage(ctx, m, &client.Error{Condition: "my:error", Description: "why"})
					var own *client.Error // the state of the answer is the one that was told
					if errors.As(err, &own) && own.Condition == "my:error" {
						err = nil
					}
				case 2:
					err = r.ReleaseMessage(ctx, m)
				case 3:
					err = r.ModifyMessage(ctx, m, &client.ModifyMessageOptions{UndeliverableHere: true})
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			want := []string{"tag0 accepted", "tag1 rejected my:error", "tag2 released", "tag3 modified true"}
			for len(h.outcomesNow()) < 4 {
				time.Sleep(time.Millisecond)
			}
			for i, o := range h.outcomesNow() {
				got := o.Tag + " " + o.State.Code.String()
				switch o.State.Code {
				case amqp.Rejected:
					got += " " + o.State.Error.Condition
				case amqp.Modified:
					got += fmt.Sprint(" ", o.State.UndeliverableHere)
				default:
				}
				if got != want[i] {
					t.Errorf("outcome %d is %q; want %q", i, got, want[i])
				}
			}
			c.Close()
		}
	})
}

func (h *hub) link(address string, receives bool) *engine.Link {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.links[fmt.Sprint(address, receives)]
}

func (h *hub) outcomesNow() []engine.Outcome {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]engine.Outcome(nil), h.outcomes...)
}
