package counting_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/twinfleet/twinfleet/internal/swarm/bus"
	"github.com/twinfleet/twinfleet/internal/swarm/bus/bustest"
	"github.com/twinfleet/twinfleet/internal/swarm/bus/counting"
	"github.com/twinfleet/twinfleet/internal/swarm/bus/membus"
)

type world struct{ server *membus.Server }

func (w world) Connect(t *testing.T) bus.Bus {
	c := counting.New(w.server.Connect())
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func (w world) Stop(*testing.T)  { w.server.Stop(nil) }
func (w world) Start(*testing.T) { w.server.Start() }

// A bus that counts is a bus.
func TestBus(t *testing.T) {
	for _, c := range bustest.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c.Run(t, world{&membus.Server{Backlog: bustest.Backlog, StoreBytes: bustest.StoreBytes}})
			})
		})
	}
}

// What one says, the other hears, byte for byte; of questions and values both ends have their part.
func TestCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &membus.Server{}
		a, b := counting.New(server.Connect()), counting.New(server.Connect())
		defer a.Close()
		defer b.Close()
		ctx, cancel := context.WithCancel(t.Context())
		var sent, received uint64
		step := func(what string, said, heard uint64) {
			t.Helper()
			synctest.Wait()
			if got := a.Sent() - sent; got != said {
				t.Errorf("%s: it says %d bytes, want %d", what, got, said)
			}
			if got := b.Received() - received; got != heard {
				t.Errorf("%s: the other hears %d bytes, want %d", what, got, heard)
			}
			sent, received = a.Sent(), b.Received()
		}
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		heard, err := b.Subscribe("news.*", func(string, []byte) {})
		must(err)
		must(a.Publish("news.one", []byte("12345")))
		step("a message", 13, 13)
		must(a.Publish("none", []byte("12345")))
		step("a message that nobody wants", 9, 0)
		if err := a.Publish("not a subject", []byte("1")); err == nil {
			t.Error("a bad subject is one")
		}
		step("a message that is none", 0, 0)
		served, err := b.Serve(bus.Service{Name: "s", Instance: "it", Version: "1.0.0", Endpoints: map[string]func(context.Context, []byte) ([]byte, error){
			"ask": func(context.Context, []byte) ([]byte, error) { return []byte("1234567"), nil },
		}})
		must(err)
		heardBefore, saidBefore := a.Received(), b.Sent()
		if _, err := a.Ask(ctx, "it", "ask", []byte("123")); err != nil {
			t.Fatal(err)
		}
		step("a question", 8, 6) // the one who is asked knows its own name
		if got, said := a.Received()-heardBefore, b.Sent()-saidBefore; got != 7 || said != 7 {
			t.Errorf("an answer of 7 bytes: %d heard, %d said", got, said)
		}
		mine, err := a.Store(ctx, "store", true)
		must(err)
		theirs, err := b.Store(ctx, "store", false)
		must(err)
		done := make(chan error, 1)
		go func() { done <- theirs.Watch(ctx, "k", func(bus.Entry) {}) }()
		synctest.Wait()
		_, err = mine.Put(ctx, "k.a", []byte("1234"))
		must(err)
		step("a value", 7, 7)
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		heard.Stop()
		served.Stop()
	})
}
