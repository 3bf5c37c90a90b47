package outside

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/protocol"
	"github.com/twinfleet/twinfleet/fleet/protocol/plain"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/schedule"
)

// lab is a target and a driver of the program's own: it acknowledges everything after a time.
type lab struct {
	latency time.Duration

	mu     sync.Mutex // protects the following field
	topics []string   // of all messages
}

func (*lab) Link(_ int, id string) link.Options { return link.Options{ClientID: id} }

func (*lab) Protocol() protocol.Protocol {
	return plain.Protocol{Topic: func(d protocol.Device) string { return "lab/" + d.ID }}
}

func (l *lab) Connect(context.Context, link.Options) (link.Conn, error) {
	return &bench{lab: l}, nil
}

// bench is a connection of the lab.
type bench struct {
	lab     *lab
	answers sync.WaitGroup
	over    func(error)
}

func (b *bench) Serve(over func(error)) {
	b.over = func(err error) {
		go func() {
			b.answers.Wait()
			over(err)
		}()
	}
}

func (*bench) Subscribe(done func(error), _ ...link.Filter) { done(nil) }

func (b *bench) Publish(m link.Message, done func(error)) {
	b.lab.mu.Lock()
	b.lab.topics = append(b.lab.topics, m.Topic)
	b.lab.mu.Unlock()
	b.answers.Go(func() {
		time.Sleep(b.lab.latency)
		done(nil)
	})
}

func (b *bench) Close() { b.over(nil) }
func (b *bench) Abort() { b.over(nil) }

// opDoor is an operation that twinfleet has never heard of.
const opDoor metrics.Operation = "door"

// A program gives devices a behaviour of its own, which is due, measured and counted under the name that the program gave it.
func TestDeviceWithABehaviourOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &lab{latency: 40 * time.Millisecond}
		recorder := metrics.NewRecorder(metrics.Options{Operations: []metrics.Operation{opDoor}})
		door := fleet.Activity{Operation: opDoor, Every: time.Second, Rated: true, Start: func(turn *fleet.Turn) {
			state := []string{"open", "shut"}[turn.Rand.IntN(2)]
			turn.Publish(link.Message{Topic: "doors/" + turn.Device.ID, QoS: 1, Payload: fmt.Appendf(nil, "%d %s", turn.N, state)})
		}}
		f, err := fleet.New(fleet.Config{
			Seed: 1, Target: l, Driver: l, Recorder: recorder,
			Groups: []fleet.Group{{Name: "gates", IDs: []string{"north", "south"}, Activities: []fleet.Activity{door}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		two := schedule.Curve{{Duration: 10 * time.Second, From: 2, To: 2}}
		if err := f.Scale(t.Context(), two); err != nil {
			t.Fatal(err)
		}
		if err := f.Load(t.Context(), opDoor, schedule.Curve{{Duration: 5 * time.Second, From: 4, To: 4}}); err != nil {
			t.Fatal(err)
		}
		f.Stop(t.Context())
		x := recorder.Snapshot().Find(opDoor, "gates")
		if want := uint64(2*15 + 4*5); x == nil || x.Scheduled() != want || x.Count(metrics.OK) != want {
			t.Fatalf("%+v; want %d doors", x, want)
		}
		if p := x.Latency(false); p.Maximum().Round(time.Millisecond) != l.latency {
			t.Errorf("a door took up to %s; want %s", p.Maximum(), l.latency)
		}
		if slices.ContainsFunc(l.topics, func(s string) bool { return s != "doors/north" && s != "doors/south" }) {
			t.Errorf("messages went to %v", l.topics)
		}
	})
}
