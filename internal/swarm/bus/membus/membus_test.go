package membus_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/swarm/bus"
	"github.com/twinfleet/twinfleet/internal/swarm/bus/bustest"
	"github.com/twinfleet/twinfleet/internal/swarm/bus/membus"
)

type world struct{ server *membus.Server }

func (w world) Connect(t *testing.T) bus.Bus {
	c := w.server.Connect()
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func (w world) Stop(*testing.T)  { w.server.Stop(nil) }
func (w world) Start(*testing.T) { w.server.Start() }

func TestBus(t *testing.T) {
	for _, c := range bustest.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c.Run(t, world{&membus.Server{Backlog: bustest.Backlog, StoreBytes: bustest.StoreBytes}})
			})
		})
	}
}

// TestOneIsCut has one connection break while the other goes on.
func TestOneIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := world{&membus.Server{}}
		a, b := w.server.Connect(), w.Connect(t)
		defer a.Close()
		heard := make(chan string, 10)
		if _, err := a.Subscribe(">", func(_ string, data []byte) { heard <- string(data) }); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Serve(bus.Service{Name: "agent", Instance: "a", Version: "1.0.0", Endpoints: map[string]func(context.Context, []byte) ([]byte, error){
			"echo": func(_ context.Context, data []byte) ([]byte, error) { return data, nil },
		}}); err != nil {
			t.Fatal(err)
		}
		cable := errors.New("the cable is out")
		a.Cut(cable)
		var state bus.State
		a.States(func(s bus.State) { state = s })
		if state.Connected || !errors.Is(state.Reason, cable) {
			t.Errorf("%+v", state)
		}
		if _, err := b.Ask(t.Context(), "a", "echo", nil); !errors.Is(err, bus.ErrNobody) {
			t.Error(err)
		}
		if err := b.Publish("word", []byte("unheard")); err != nil {
			t.Fatal(err)
		}
		w.server.Stop(nil)
		w.server.Start()
		if state.Connected {
			t.Error("a server that starts mends no cable")
		}
		a.Heal()
		if err := b.Publish("word", []byte("heard")); err != nil {
			t.Fatal(err)
		}
		if m := <-heard; m != "heard" {
			t.Error(m)
		}
		if _, err := b.Ask(t.Context(), "a", "echo", nil); err != nil || !state.Connected {
			t.Error(err, state)
		}
	})
}

// TestDelay measures a way that is slower there than back.
func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := world{&membus.Server{}}
		a, b := w.server.Connect(), w.Connect(t)
		defer a.Close()
		a.Delay(30*time.Millisecond, 10*time.Millisecond)
		began := time.Now()
		heard := make(chan time.Duration, 1)
		if _, err := b.Subscribe("word", func(string, []byte) { heard <- time.Since(began) }); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Serve(bus.Service{Name: "clock", Instance: "b", Version: "1.0.0", Endpoints: map[string]func(context.Context, []byte) ([]byte, error){
			"now": func(context.Context, []byte) ([]byte, error) { return []byte(time.Since(began).String()), nil },
		}}); err != nil {
			t.Fatal(err)
		}
		there, err := a.Ask(t.Context(), "b", "now", nil)
		if err != nil || string(there) != "30ms" || time.Since(began) != 40*time.Millisecond {
			t.Errorf("%s there, %v in all, %v", there, time.Since(began), err)
		}
		if err := a.Publish("word", nil); err != nil {
			t.Fatal(err)
		}
		if d := <-heard; d != 70*time.Millisecond {
			t.Error(d)
		}
		store, err := a.Store(t.Context(), "run", true)
		if err != nil {
			t.Fatal(err)
		}
		began = time.Now()
		if _, err := store.Put(t.Context(), "k", nil); err != nil || time.Since(began) != 40*time.Millisecond {
			t.Error(time.Since(began), err)
		}
	})
}
