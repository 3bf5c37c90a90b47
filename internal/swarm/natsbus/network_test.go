package natsbus_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/twinfleet/twinfleet/internal/swarm/bus"
	"github.com/twinfleet/twinfleet/internal/swarm/natsbus"
)

func patient(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// through connects by way of a proxy.
func (w *world) through(t testing.TB) (*natsbus.Conn, *proxy) {
	t.Helper()
	p := newProxy(t, strings.TrimPrefix(w.server.URL(), "nats://"))
	c, err := natsbus.Connect(t.Context(), natsbus.Options{URLs: []string{p.url()}, Token: token})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c, p
}

// TestSilentServer has the network swallow everything: without a word that it is gone the server is noticed to be.
func TestSilentServer(t *testing.T) {
	leakless(t)
	w := newWorld(t)
	b, p := w.through(t)
	all := make(chan bus.State, 1000)
	b.States(func(s bus.State) { all <- s })
	<-all
	p.stall.Store(true)
	began := time.Now()
	select {
	case s := <-all:
		if s.Connected || s.Reason == nil {
			t.Errorf("%+v", s)
		}
		t.Logf("noticed after %v", time.Since(began))
	case <-time.After(30 * time.Second):
		t.Fatal("nobody noticed")
	}
	p.stall.Store(false)
	p.cut()
	for s := range all {
		if s.Connected {
			break
		}
	}
	if _, err := b.Store(patient(t), "run", true); err != nil {
		t.Error(err)
	}
}

// TestStuckNetwork has the network take nothing in any more: publishing waits for it, but not for long, and then keeps what it may.
func TestStuckNetwork(t *testing.T) {
	leakless(t)
	w := newWorld(t)
	b, p := w.through(t)
	p.stall.Store(true)
	p.held.Lock()
	defer p.held.Unlock()
	value := make([]byte, 500<<10)
	longest, err := time.Duration(0), error(nil)
	for n := 0; !errors.Is(err, bus.ErrBacklog); n++ {
		began := time.Now()
		err = b.Publish("word", value)
		longest = max(longest, time.Since(began))
		if err != nil && !errors.Is(err, bus.ErrLost) && !errors.Is(err, bus.ErrBacklog) {
			t.Fatal(err)
		}
		if n > 1000 {
			t.Fatal("it goes on for ever")
		}
	}
	t.Logf("the longest took %v", longest)
	if longest > 20*time.Second {
		t.Errorf("one took %v", longest)
	}
}

// TestLostAnswers breaks the connection after the server has written, and before the writer hears of it: each write is done once, and is known to be.
func TestLostAnswers(t *testing.T) {
	leakless(t)
	w, ctx := newWorld(t), patient(t)
	b, p := w.through(t)
	store, err := b.Store(ctx, "run", true)
	if err != nil {
		t.Fatal(err)
	}
	eye, err := w.connect(t).Store(ctx, "run", false)
	if err != nil {
		t.Fatal(err)
	}
	entries := make(chan bus.Entry, 100)
	watching, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- eye.Watch(watching, "", func(e bus.Entry) { entries <- e }) }()
	defer func() {
		stop()
		<-ended
	}()
	if e := <-entries; e.Kind != bus.Current {
		t.Fatal(e)
	}
	last := uint64(0)
	for _, c := range []struct {
		name string
		kind bus.Kind
		do   func() (uint64, error)
	}{
		{"create", bus.Value, func() (uint64, error) { return store.Create(ctx, "k", []byte("1")) }},
		{"update", bus.Value, func() (uint64, error) { return store.Update(ctx, "k", []byte("2"), last) }},
		{"put", bus.Value, func() (uint64, error) { return store.Put(ctx, "k", []byte("3")) }},
		{"delete", bus.Deleted, func() (uint64, error) { return 0, store.Delete(ctx, "k") }},
		{"create anew", bus.Value, func() (uint64, error) { return store.Create(ctx, "k", []byte("4")) }},
	} {
		// There is a connection once more.
		if _, err := store.Get(ctx, "k"); err != nil && !errors.Is(err, bus.ErrNoKey) {
			t.Fatal(err)
		}
		p.deaf.Store(true)
		type result struct {
			revision uint64
			err      error
		}
		done := make(chan result, 1)
		go func() {
			revision, err := c.do()
			done <- result{revision, err}
		}()
		written := bus.Entry{}
		// Creating after a deletion needs an answer that says so.
		if c.name == "create anew" {
			p.deaf.Store(false)
			p.cut()
		}
		select {
		case written = <-entries:
		case <-ctx.Done():
			t.Fatalf("%s: nothing was written", c.name)
		}
		select {
		case r := <-done:
			if c.name != "create anew" {
				t.Fatalf("%s was told %d, %v by nobody", c.name, r.revision, r.err)
			}
			done <- r
		default:
		}
		p.deaf.Store(false)
		p.cut()
		r := <-done
		if r.err != nil || c.kind != written.Kind || c.kind == bus.Value && r.revision != written.Revision {
			t.Errorf("%s: told %d, %v; written %+v", c.name, r.revision, r.err, written)
		}
		if written.Revision != last+1 {
			t.Errorf("%s: revision %d after %d", c.name, written.Revision, last)
		}
		last = written.Revision
	}
	// What was written by another is no success of ours.
	other := eye
	if _, err := other.Put(ctx, "k", []byte("5")); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Update(ctx, "k", []byte("6"), last); !errors.Is(err, bus.ErrConflict) {
		t.Error(err)
	}
}

// TestLongWatch begins with more than a connection lets through at once, and breaks it in the middle.
func TestLongWatch(t *testing.T) {
	leakless(t)
	w, ctx := newWorld(t), patient(t)
	direct, err := natsbus.Connect(ctx, natsbus.Options{URLs: []string{w.server.URL()}, Token: token})
	if err != nil {
		t.Fatal(err)
	}
	defer direct.Close()
	store, err := direct.Store(ctx, "run", true)
	if err != nil {
		t.Fatal(err)
	}
	const keys = 300
	value := make([]byte, 60<<10)
	for i := range keys {
		if _, err := store.Put(ctx, fmt.Sprint("figures.", i), value); err != nil {
			t.Fatal(err)
		}
	}
	b, p := w.through(t)
	far, err := b.Store(ctx, "run", false)
	if err != nil {
		t.Fatal(err)
	}
	seen, done := map[string]int{}, errors.New("all is told")
	watching, stop := context.WithCancelCause(ctx)
	err = far.Watch(watching, "figures", func(e bus.Entry) {
		if e.Kind == bus.Current {
			stop(done)
			return
		}
		seen[e.Key]++
		if len(seen) == keys/3 {
			p.cut()
		}
	})
	if !errors.Is(err, done) {
		t.Fatal(err)
	}
	if len(seen) != keys {
		t.Errorf("%d keys", len(seen))
	}
	for key, n := range seen {
		if n != 1 {
			t.Errorf("%s was told %d times", key, n)
		}
	}
	if all, err := far.Keys(ctx, "figures"); err != nil || len(all) != keys {
		t.Errorf("%d keys, %v", len(all), err)
	}
}

// TestLostConsumer has the server forget a watcher, as a cluster may, without a word: the watch is silent for too long and is made anew.
func TestLostConsumer(t *testing.T) {
	leakless(t)
	w, ctx := newWorld(t), patient(t)
	store, err := w.connect(t).Store(ctx, "run", true)
	if err != nil {
		t.Fatal(err)
	}
	entries := make(chan bus.Entry, 100)
	watching, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- store.Watch(watching, "", func(e bus.Entry) { entries <- e }) }()
	defer func() {
		stop()
		<-ended
	}()
	<-entries
	nc, err := nats.Connect(w.server.URL(), nats.Token(token))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(ctx, "KV_twinfleet_run")
	if err != nil {
		t.Fatal(err)
	}
	consumer := func() (names []string) {
		for name := range stream.ConsumerNames(ctx).Name() {
			names = append(names, name)
		}
		return names
	}
	names := consumer()
	if len(names) != 1 {
		t.Fatal(names)
	}
	if err := stream.DeleteConsumer(ctx, names[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Put(ctx, "k", []byte("1")); err != nil {
		t.Fatal(err)
	}
	select {
	case e := <-entries:
		if e.Key != "k" {
			t.Errorf("%+v", e)
		}
	case <-ctx.Done():
		t.Fatal("the watch is dead")
	}
	if left := consumer(); len(left) != 1 || left[0] == names[0] {
		t.Errorf("%q after %q", left, names)
	}
}

// TestStoreIsLost has a server come back with an empty folder: who writes to what was there, reads it or watches it is told so, and does not
// wait for what does not come back.
func TestStoreIsLost(t *testing.T) {
	leakless(t)
	w, ctx := newWorld(t), patient(t)
	b := w.connect(t)
	store, err := b.Store(ctx, "run", true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Put(ctx, "k", []byte("1")); err != nil {
		t.Fatal(err)
	}
	current, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- store.Watch(ctx, "", func(e bus.Entry) {
			if e.Kind == bus.Current {
				close(current)
			}
		})
	}()
	<-current
	w.Stop(t)
	w.options.Folder = t.TempDir()
	w.Start(t)
	if _, err := store.Put(ctx, "k", []byte("2")); !errors.Is(err, bus.ErrNoStore) {
		t.Error("put:", err)
	}
	if _, err := store.Get(ctx, "k"); !errors.Is(err, bus.ErrNoStore) {
		t.Error("get:", err)
	}
	if _, err := store.Keys(ctx, ""); !errors.Is(err, bus.ErrNoStore) {
		t.Error("keys:", err)
	}
	if err := <-ended; !errors.Is(err, bus.ErrNoStore) {
		t.Error("watch:", err)
	}
}
