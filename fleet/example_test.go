package fleet_test

import (
	"context"
	"fmt"
	"sync"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/protocol"
	"github.com/twinfleet/twinfleet/fleet/protocol/plain"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/schedule"
)

// echo is a target, and a driver to it, that acknowledges everything at once.
type echo struct{}

func (echo) Link(_ int, id string) link.Options { return link.Options{ClientID: id} }
func (echo) Protocol() protocol.Protocol {
	return plain.Protocol{Topic: func(d protocol.Device) string { return "echo/" + d.ID }}
}

func (echo) Connect(context.Context, link.Options) (link.Conn, error) {
	return new(echoing), nil
}

// echoing is a connection of an echo.
type echoing struct{ over func(error) }

func (e *echoing) Serve(over func(error))                     { e.over = over }
func (*echoing) Subscribe(done func(error), _ ...link.Filter) { done(nil) }
func (*echoing) Publish(_ link.Message, done func(error))     { done(nil) }
func (e *echoing) Close()                                     { e.over(nil) }
func (e *echoing) Abort()                                     { e.over(nil) }

// Devices follow activities: here one of the program's own, which comes with each connection.
func Example() {
	const hello metrics.Operation = "hello"
	var greeted sync.WaitGroup
	greeted.Add(2)
	greet := fleet.Activity{Operation: hello, AtOnce: true, Start: func(turn *fleet.Turn) {
		turn.Publish(link.Message{Topic: "hello/" + turn.Device.ID, Payload: []byte("{}")})
		greeted.Done()
	}}
	recorder := metrics.NewRecorder(metrics.Options{Operations: []metrics.Operation{hello}})
	f, err := fleet.New(fleet.Config{
		Target: echo{}, Driver: echo{}, Recorder: recorder,
		Groups: []fleet.Group{{Name: "robots", IDs: []string{"r1", "r2"}, Activities: []fleet.Activity{greet}}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	if err := f.Scale(ctx, schedule.Curve{{From: 2, To: 2}}); err != nil {
		fmt.Println(err)
	}
	greeted.Wait()
	f.Stop(ctx)
	fmt.Println(recorder.Snapshot().Find(hello, "robots").Count(metrics.OK), "were answered")
	// Output: 2 were answered
}
