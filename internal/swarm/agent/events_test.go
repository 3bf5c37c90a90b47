package agent

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/internal/swarm/bus"
	"github.com/twinfleet/twinfleet/internal/swarm/bus/counting"
	"github.com/twinfleet/twinfleet/internal/swarm/bus/membus"
	"github.com/twinfleet/twinfleet/internal/swarm/clock"
	"github.com/twinfleet/twinfleet/internal/swarm/protocol"
)

// A batch says by how much its times may be wrong: by what was known when each happened, not by what is known when it is told. What was about to
// be sent is told once more, at the same time, with the answer.
func TestBatchSaysHowWrongItsTimesMayBe(t *testing.T) {
	b := (&membus.Server{}).Connect()
	defer b.Close()
	pack, err := protocol.NewPacker()
	if err != nil {
		t.Fatal(err)
	}
	var heard []protocol.Batch
	served, err := b.Serve(bus.Service{Name: protocol.CoordinatorService, Instance: coordinator("r"), Version: "1.0.0", Endpoints: map[string]func(context.Context, []byte) ([]byte, error){
		protocol.Events: func(_ context.Context, data []byte) ([]byte, error) {
			var x protocol.Batch
			err := pack.Unpack(data, &x)
			heard = append(heard, x)
			return nil, err
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer served.Stop()
	w := &work{session: &session{id: "r"}, agent: &Agent{o: Options{Name: "a", Bus: b}, pack: pack}}
	w.agent.control.traffic = counting.New(b)
	w.events = newEvents(w, []int{3})
	knows := func(offset, within time.Duration) {
		w.times.add(clock.Estimate{Offset: offset, Uncertainty: within, Samples: 1, At: time.Now()}, time.Now)
	}
	knows(time.Hour, time.Minute)
	sent := time.Now()
	w.events.reporting(3, sent)
	knows(time.Hour+time.Second, time.Second)
	w.events.reported(fleet.Report{Index: 3, Version: 1, Sent: sent, Acked: time.Now()})
	for range 2 {
		if _, err := w.events.batch(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if len(heard) != 2 || len(heard[0].Events) != 2 {
		t.Fatalf("%+v", heard)
	}
	for i, want := range []time.Duration{time.Minute, time.Second} {
		if got := heard[i].Within; got < want || got > want+want/2 {
			t.Errorf("batch %d: within %s; want %s", i, got, want)
		}
	}
	if x := heard[0].Events; !x[0].Reporting.Sent.Equal(x[1].Reported.Sent) {
		t.Errorf("a report is told as sent at %s and %s", x[0].Reporting.Sent, x[1].Reported.Sent)
	}
}

// A batch whose answer was lost is told once more as it was: what devices learnt meanwhile is told in the next one, and nothing twice or never.
func TestBatchWhoseAnswerIsLost(t *testing.T) {
	b := (&membus.Server{}).Connect()
	defer b.Close()
	pack, err := protocol.NewPacker()
	if err != nil {
		t.Fatal(err)
	}
	var last uint64
	var heard []int
	asked := 0
	served, err := b.Serve(bus.Service{Name: protocol.CoordinatorService, Instance: coordinator("r"), Version: "1.0.0", Endpoints: map[string]func(context.Context, []byte) ([]byte, error){
		protocol.Events: func(_ context.Context, data []byte) ([]byte, error) {
			var x protocol.Batch
			if err := pack.Unpack(data, &x); err != nil {
				return nil, err
			}
			if x.Number > last { // as who leads has it
				last = x.Number
				for _, e := range x.Events {
					heard = append(heard, e.Contradiction.Index)
				}
			}
			if asked++; asked%2 == 1 {
				return nil, &bus.Error{Code: bus.Failed, Text: "the answer is lost"}
			}
			return nil, nil
		},
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer served.Stop()
	w := &work{session: &session{id: "r"}, agent: &Agent{o: Options{Name: "a", Bus: b}, pack: pack}}
	w.agent.control.traffic = counting.New(b)
	w.events = newEvents(w, nil)
	for i := range 6 { // the first batch has nothing to tell
		if _, err := w.events.batch(t.Context()); (err == nil) != (i%2 == 1) {
			t.Errorf("batch %d: %v", i, err)
		}
		w.events.contradiction(fleet.Contradiction{Index: i})
	}
	for left := 1; left > 0; {
		left, _ = w.events.batch(t.Context())
	}
	if err := w.events.flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if want := []int{0, 1, 2, 3, 4, 5}; !slices.Equal(heard, want) {
		t.Errorf("heard %v; want %v", heard, want)
	}
}
