package fleet_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/metrics"
)

// accuser collects what devices were told that cannot be true.
type accuser struct {
	mu    sync.Mutex
	found []fleet.Contradiction
}

func (a *accuser) add(c fleet.Contradiction) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.found = append(a.found, c)
}

// all is what was found so far.
func (a *accuser) all() []fleet.Contradiction {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.found)
}

// kinds are what was found so far, sorted, and forgets it.
func (a *accuser) kinds() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var kinds []string
	for _, c := range a.found {
		kinds = append(kinds, c.Device+" "+string(c.Kind))
	}
	a.found = nil
	slices.Sort(kinds)
	return kinds
}

// A subscription that holds with a lower quality of service than was asked for is a good one, and told of once for its group.
func TestLoweredQoS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, a := newBroker(link.V5, boards), &accuser{}
		b.lowers = true
		rec := metrics.NewRecorder(metrics.Options{})
		f, err := fleet.New(fleet.Config{
			Groups: []fleet.Group{{Name: "boards", IDs: []string{"boards-0", "boards-1"}, Listens: true}}, Target: b, Driver: b, Recorder: rec, OnContradiction: a.add,
		})
		if err != nil {
			t.Fatal(err)
		}
		to(t, f, 2, 0)
		time.Sleep(time.Second)
		if got := a.all(); len(got) != 1 || got[0].Kind != fleet.LoweredQoS || got[0].Detail != "boards: QoS 0 where QoS 1 was asked for" {
			t.Errorf("%+v", got)
		}
		if n := f.Counts()[fleet.StateConnected]; n != 2 || rec.Snapshot().Find(metrics.OpSubscribe, "boards").Count(metrics.OK) != 2 {
			t.Errorf("%d are connected", n)
		}
		f.Stop(t.Context())
	})
}

// A device holds the versions of the twin that it reads after a connection against those from before it.
func TestDevicesFindVersionsThatFall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, a := newHub(), &accuser{}
		h.desired = `{"colour":"blue","$version":4}`
		g := fleet.Group{Name: "robots", IDs: []string{"robots-000"}, Report: fleet.Reporting{Types: types(t, "wifi", 1), Every: time.Second}}
		f, err := fleet.New(fleet.Config{Groups: []fleet.Group{g}, Target: h, Driver: h, Recorder: metrics.NewRecorder(metrics.Options{}), OnContradiction: a.add})
		if err != nil {
			t.Fatal(err)
		}
		to(t, f, 1, 0)
		time.Sleep(10 * time.Second)
		h.tell("robots-000", link.Message{Topic: "$iothub/twin/PATCH/properties/desired/?$version=7", Payload: []byte(`{"colour":"red","$version":7}`)})
		h.set(func() { h.desired = `{"colour":"red","$version":7}` })
		h.drop()
		time.Sleep(10 * time.Second)
		if k := a.kinds(); len(k) > 0 {
			t.Errorf("a truthful hub is accused: %q", k)
		}
		h.set(func() {
			h.desired = `{"colour":"blue","$version":4}`
			h.reports["robots-000"] = h.reports["robots-000"][:5]
		})
		h.drop()
		time.Sleep(10 * time.Second)
		account := f.Account(0)
		f.Stop(t.Context())
		want := []string{"robots-000 " + string(fleet.RepeatedVersion), "robots-000 " + string(fleet.FallenDesired)}
		if k := a.kinds(); !slices.Equal(k, want) {
			t.Errorf("found %q; want %q", k, want)
		}
		if n := int64(len(h.told().reports["robots-000"])); account.Lost < 10 || account.Low != n+1 || account.High < n+1 {
			t.Errorf("account = %+v; want some ten lost, and version %d", account, n+1)
		}
	})
}

// sensorAndBoard is a run, running, of one device that sends a message a second and one that gets it.
func sensorAndBoard(t *testing.T, run string) (*hub, *accuser, *fleet.Fleet, *metrics.Recorder) {
	t.Helper()
	h, a, rec := newHub(), &accuser{}, metrics.NewRecorder(metrics.Options{})
	h.twins = false
	sensors := fleet.Group{Name: "sensors", IDs: []string{"sensors-0"}, Telemetry: fleet.Telemetry{Every: time.Second, Deliveries: 1}}
	boards := fleet.Group{Name: "boards", First: 1, IDs: []string{"boards-0"}, Listens: true}
	f, err := fleet.New(fleet.Config{Run: run, Groups: []fleet.Group{sensors, boards}, Target: h, Driver: h, Recorder: rec, OnContradiction: a.add})
	if err != nil {
		t.Fatal(err)
	}
	to(t, f, 2, 0)
	return h, a, f, rec
}

// Two runs on the same topics know whose a message is, and still find what nobody sent in their own name.
func TestMessagesOfAnotherRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, a, f, rec := sensorAndBoard(t, "ours")
		time.Sleep(5500 * time.Millisecond)
		for _, body := range []string{`{"_delivery":"theirs-0-900"}`, `{"_delivery":"ours2-0-900"}`, `{"_delivery":"0-900"}`} {
			h.tell("boards-0", link.Message{Topic: "t", Payload: []byte(body)})
		}
		if k := a.kinds(); len(k) > 0 {
			t.Errorf("found %q in the messages of others", k)
		}
		h.tell("boards-0", link.Message{Topic: "t", Payload: []byte(`{"_delivery":"ours-0-900"}`)})
		if k := a.kinds(); len(k) != 1 {
			t.Errorf("found %q; want one message that was never sent", k)
		}
		f.Stop(t.Context())
		if x := rec.Snapshot().Find(metrics.OpDelivery, "sensors"); x.Count(metrics.OK) < 5 || x.Count(metrics.OK) != x.Scheduled() {
			t.Errorf("%d of %d delivered", x.Count(metrics.OK), x.Scheduled())
		}
	})
}

// A message that nobody sent is told of; a copy, one that a broker retained and what has no mark is not.
func TestSubscribersFindWhatWasNeverSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, a, f, _ := sensorAndBoard(t, "")
		time.Sleep(5500 * time.Millisecond)
		for _, body := range []string{`{"_delivery":"0-2"}`, `{"n":1}`, `{"_delivery":"x"}`, `{"_delivery":"0--1"}`} {
			h.tell("boards-0", link.Message{Topic: "t", Payload: []byte(body)})
		}
		h.tell("boards-0", link.Message{Topic: "t", Retain: true, Payload: []byte(`{"_delivery":"0-900"}`)})
		if k := a.kinds(); len(k) > 0 {
			t.Errorf("found %q; want nothing", k)
		}
		for i, body := range []string{`{"_delivery":"0-900"}`, `{"_delivery":"7-1"}`, `{"_delivery":"1-0"}`} {
			h.tell("boards-0", link.Message{Topic: "t", Payload: []byte(body)})
			if k := a.kinds(); len(k) != 1 || k[0] != fmt.Sprint("boards-0 ", fleet.UnknownDelivery) {
				t.Errorf("%d: %s: found %q; want one message that was never sent", i, body, k)
			}
		}
		f.Stop(t.Context())
	})
}
