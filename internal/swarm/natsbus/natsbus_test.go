package natsbus_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/twinfleet/twinfleet/internal/swarm/bus"
	"github.com/twinfleet/twinfleet/internal/swarm/bus/bustest"
	"github.com/twinfleet/twinfleet/internal/swarm/embednats"
	"github.com/twinfleet/twinfleet/internal/swarm/natsbus"
)

const token = "not-for-anybody"

// world is an embedded server.
type world struct {
	options embednats.Options
	server  *embednats.Server
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{options: embednats.Options{Folder: t.TempDir(), Token: token}}
	w.start(t)
	t.Cleanup(func() { _ = w.server.Close() })
	return w
}

func (w *world) start(t testing.TB) {
	t.Helper()
	var err error
	if w.server, err = embednats.Open(context.Background(), w.options); err != nil {
		t.Fatal(err)
	}
	w.options.Port = w.server.Port()
}

func (w *world) Start(t *testing.T) { w.start(t) }

func (w *world) Stop(t *testing.T) {
	if err := w.server.Close(); err != nil {
		t.Fatal(err)
	}
}

func (w *world) connect(t testing.TB) *natsbus.Conn {
	t.Helper()
	c, err := natsbus.Connect(t.Context(), natsbus.Options{
		URLs: []string{w.server.URL()}, Token: token, Backlog: bustest.Backlog, StoreBytes: bustest.StoreBytes,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func (w *world) Connect(t *testing.T) bus.Bus { return w.connect(t) }

// leakless fails a test that leaves goroutines. It is the first to be called, so that it is the last to look.
func leakless(t *testing.T) {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
}

func TestBus(t *testing.T) {
	for _, c := range bustest.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			leakless(t)
			c.Run(t, newWorld(t))
		})
	}
}

// closedPort is a port that nobody listens on.
func closedPort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestConnectFails(t *testing.T) {
	leakless(t)
	w := newWorld(t)
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	host := strings.TrimPrefix(w.server.URL(), "nats://")
	for _, c := range []struct {
		name    string
		options natsbus.Options
		is      error
		says    string
	}{
		{"a wrong token", natsbus.Options{URLs: []string{w.server.URL()}, Token: "hush-hush"}, bus.ErrDenied, host},
		{"no token", natsbus.Options{URLs: []string{w.server.URL()}}, bus.ErrDenied, host},
		{"a wrong token in the URL", natsbus.Options{URLs: []string{"nats://hush-hush@" + host}}, bus.ErrDenied, host},
		{"a wrong password in the URL", natsbus.Options{URLs: []string{"nats://me:hush-hush@" + host}}, bus.ErrDenied, host},
		{"nobody there", natsbus.Options{URLs: []string{"nats://hush-hush@" + closedPort(t)}}, context.DeadlineExceeded, "127.0.0.1"},
		{"no URL", natsbus.Options{}, nil, "no URL"},
		{"a URL that is none", natsbus.Options{URLs: []string{"nats://me:hush-hush@ho st:1"}}, nil, "cannot be read"},
		{"another scheme", natsbus.Options{URLs: []string{"http://me:hush-hush@" + host}}, nil, "nats://"},
		{"TLS that the server has not", natsbus.Options{URLs: []string{"tls://" + host}, Token: "hush-hush"}, nil, "secure"},
		{"no authorities", natsbus.Options{URLs: []string{host}, CAFile: empty}, nil, "no certificate"},
		{"no file", natsbus.Options{URLs: []string{host}, CAFile: "nowhere"}, os.ErrNotExist, "nowhere"},
		{"no credentials", natsbus.Options{URLs: []string{host}, CredsFile: "nowhere"}, os.ErrNotExist, "nowhere"},
		{"no seed", natsbus.Options{URLs: []string{host}, NkeyFile: empty}, nil, "no seed"},
		{"a prefix that cannot be", natsbus.Options{URLs: []string{host}, Prefix: "a.b"}, bus.ErrName, "a.b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			patience := 20 * time.Second
			if errors.Is(c.is, context.DeadlineExceeded) {
				patience = 300 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			b, err := natsbus.Connect(ctx, c.options)
			if err == nil {
				_ = b.Close()
				t.Fatal("it connected")
			}
			if c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "hush") {
				t.Error(err)
			}
			if ctx.Err() != nil && !errors.Is(c.is, context.DeadlineExceeded) {
				t.Errorf("it tried until the end: %v", err)
			}
		})
	}
}

// TestConnectWaits begins before the server.
func TestConnectWaits(t *testing.T) {
	leakless(t)
	w := newWorld(t)
	w.Stop(t)
	url, connected := w.server.URL(), make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	dialed := make(chan struct{}, 1)
	go func() {
		dialed <- struct{}{}
		b, err := natsbus.Connect(ctx, natsbus.Options{URLs: []string{url}, Token: token})
		if err == nil {
			err = b.Close()
		}
		connected <- err
	}()
	<-dialed
	w.Start(t)
	if err := <-connected; err != nil {
		t.Error(err)
	}
}

// TestAnotherToken has a server come back that refuses who was connected: the connection does not give up, and says so.
func TestAnotherToken(t *testing.T) {
	leakless(t)
	w := newWorld(t)
	b := w.connect(t)
	all := make(chan bus.State, 1000)
	b.States(func(s bus.State) { all <- s })
	wait := func(what string, is func(bus.State) bool) {
		t.Helper()
		deadline := time.After(30 * time.Second)
		for {
			select {
			case s := <-all:
				if is(s) {
					return
				}
			case <-deadline:
				t.Fatal(what)
			}
		}
	}
	w.Stop(t)
	w.options.Token = "another"
	w.Start(t)
	wait("nobody says that it is denied", func(s bus.State) bool { return errors.Is(s.Reason, bus.ErrDenied) })
	w.Stop(t)
	wait("nobody says that the server went", func(s bus.State) bool { return s.Reason != nil && !errors.Is(s.Reason, bus.ErrDenied) })
	w.Start(t)
	wait("nobody says that it is denied once more", func(s bus.State) bool { return errors.Is(s.Reason, bus.ErrDenied) })
	w.Stop(t)
	w.options.Token = token
	w.Start(t)
	wait("it does not come back", func(s bus.State) bool { return s.Connected })
}

// A server has room for few stores; one that is removed makes room for another, and is gone.
func TestDrop(t *testing.T) {
	w := &world{options: embednats.Options{Folder: t.TempDir(), Token: token, MaxStore: bustest.StoreBytes * 3 / 2}}
	w.start(t)
	t.Cleanup(func() { _ = w.server.Close() })
	c := w.connect(t)
	defer c.Close()
	for _, name := range []string{"first", "second", "third"} {
		s, err := c.Store(t.Context(), name, true)
		if err != nil {
			t.Fatalf("store %s: %v", name, err)
		}
		if _, err := s.Put(t.Context(), "key", []byte("value")); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := c.Drop(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := c.Store(t.Context(), name, false); !errors.Is(err, bus.ErrNoStore) {
			t.Errorf("store %s: %v", name, err)
		}
	}
}
