package fleet_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/payload"
	"github.com/twinfleet/twinfleet/metrics"
)

// brokerFleet is ten sensors that send once a second and two boards that listen to all of them, on a plain broker.
func brokerFleet(t *testing.T, h *hub, change func(sensors, boards *fleet.Group)) (*fleet.Fleet, *metrics.Recorder) {
	t.Helper()
	h.twins = false
	sensors := fleet.Group{Name: "sensors", Telemetry: fleet.Telemetry{Every: time.Second, QoS: 1, Deliveries: 2, Payload: compile(t,
		map[string]any{"n": "{{ seq }}"})}, Timeout: 5 * time.Second}
	boards := fleet.Group{Name: "boards", First: 10, Listens: true}
	for i := range 10 {
		sensors.IDs = append(sensors.IDs, fmt.Sprintf("sensors-%d", i))
	}
	boards.IDs = []string{"boards-0", "boards-1"}
	if change != nil {
		change(&sensors, &boards)
	}
	rec := metrics.NewRecorder(metrics.Options{})
	f, err := fleet.New(fleet.Config{Seed: 1, Target: h, Driver: h, Recorder: rec, Groups: []fleet.Group{sensors, boards}})
	if err != nil {
		t.Fatal(err)
	}
	return f, rec
}

// Every subscriber's copy is a delivery, and takes what it takes.
func TestDeliveries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		h.latency = 30 * time.Millisecond
		f, rec := brokerFleet(t, h, nil)
		to(t, f, 12, 2*time.Second)
		time.Sleep(20 * time.Second)
		f.Stop(t.Context())
		balanced(t, rec.Snapshot())
		sent, x := rec.Snapshot().Find(metrics.OpTelemetry, "sensors"), rec.Snapshot().Find(metrics.OpDelivery, "sensors")
		if sent.Started() < 195 || x.Count(metrics.OK) != 2*sent.Started() || x.Scheduled() != 2*sent.Started() {
			t.Errorf("%d messages, %d deliveries of %d; want two a message", sent.Started(), x.Count(metrics.OK), x.Scheduled())
		}
		if p := x.Latency(false); p.Minimum().Round(time.Millisecond) != h.latency || p.Maximum().Round(time.Millisecond) != h.latency {
			t.Errorf("deliveries took %v to %v; want %v", p.Minimum(), p.Maximum(), h.latency)
		}
		for id, messages := range h.told().messages {
			for i, m := range messages {
				var v struct {
					Delivery string `json:"_delivery"`
					N        int
				}
				if err := json.Unmarshal(m.Payload, &v); err != nil || v.N != i+1 || v.Delivery != fmt.Sprintf("%s-%d", strings.TrimPrefix(id, "sensors-"), i) {
					t.Errorf("message %d of %s: %s", i, id, m.Payload)
				}
			}
		}
		// The boards were there before the first message.
		if a, b := h.told().dials["boards-0"][0], h.told().dials["boards-1"][0]; !a.Before(h.told().dials["sensors-0"][0]) || !b.Before(h.told().dials["sensors-0"][0]) {
			t.Error("a subscriber started after a publisher")
		}
	})
}

// A message that is filled has its size with its mark.
func TestFilledDeliveries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		f, _ := brokerFleet(t, h, func(sensors, _ *fleet.Group) {
			sensors.First = 95
			sensors.Telemetry.Payload = payload.Fill(sensors.Telemetry.Payload, 100)
		})
		to(t, f, 12, 2*time.Second)
		time.Sleep(20 * time.Second)
		f.Stop(t.Context())
		n := 0
		for id, messages := range h.told().messages {
			for _, m := range messages {
				n++
				if len(m.Payload) != 100 || !strings.HasPrefix(string(m.Payload), `{"_delivery":"`) || !json.Valid(m.Payload) {
					t.Errorf("%s sends %d bytes: %s", id, len(m.Payload), m.Payload)
				}
			}
		}
		if n < 100 {
			t.Errorf("only %d messages were sent", n)
		}
	})
}

// What devices send names them as their group does.
func TestNamesInMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		text, err := payload.CompileText("{{ group }} {{ index }} {{ device }} {{ seq }}")
		if err != nil {
			t.Fatal(err)
		}
		f, _ := brokerFleet(t, h, func(sensors, boards *fleet.Group) {
			sensors.First, boards.First = 2, 0
			sensors.Telemetry = fleet.Telemetry{Every: time.Second, Payload: text}
		})
		to(t, f, 12, time.Second)
		time.Sleep(5 * time.Second)
		f.Stop(t.Context())
		for i := range 10 {
			id := fmt.Sprintf("sensors-%d", i)
			for k, m := range h.told().messages[id] {
				if want := fmt.Sprintf("sensors %d %s %d", i, id, k+1); string(m.Payload) != want {
					t.Errorf("message %d is %q; want %q", k, m.Payload, want)
				}
			}
			if len(h.told().messages[id]) < 3 {
				t.Errorf("%s sent %d messages", id, len(h.told().messages[id]))
			}
		}
	})
}

// What does not arrive is counted as a time-out, what arrives twice once, what a broker had retained not at all.
func TestLostAndDoubleDeliveries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		h.copies = func(m link.Message) int {
			switch {
			case strings.Contains(string(m.Payload), `"n":3}`):
				return 0
			case strings.Contains(string(m.Payload), `"n":5}`):
				return 3
			}
			return 1
		}
		f, rec := brokerFleet(t, h, nil)
		to(t, f, 12, 0)
		time.Sleep(20500 * time.Millisecond)
		h.tell("boards-0", link.Message{Topic: "t", Retain: true, Payload: []byte(`{"_delivery":"0-19"}`)})
		for _, odd := range []string{
			"", "{}", `{"_delivery":""}`, `{"_delivery":"0-"}`, `{"_delivery":"99-1"}`, `{"_delivery":"0-1`, `{"_delivery":"0-1"}`,
			`{"_delivery":"x-1"}`,
		} {
			h.tell("boards-1", link.Message{Topic: "t", Payload: []byte(odd)})
		}
		f.Stop(t.Context())
		balanced(t, rec.Snapshot())
		sent, x := rec.Snapshot().Find(metrics.OpTelemetry, "sensors"), rec.Snapshot().Find(metrics.OpDelivery, "sensors")
		if x.Count(metrics.Timeout) != 20 || x.Count(metrics.OK) != 2*sent.Started()-20 || x.Count(metrics.Unanswered) != 0 {
			t.Errorf("%d messages: %d lost, %d delivered, %d unanswered; want 20 lost, and all others twice", sent.Started(), x.Count(metrics.Timeout),
				x.Count(metrics.OK), x.Count(metrics.Unanswered))
		}
		if d := f.Deliveries()[0]; d.Retained != 1 {
			t.Errorf("%+v; want the one that was retained counted", d)
		}
		if p := x.Response[metrics.Timeout]; p.Minimum().Round(10*time.Millisecond) != 5*time.Second {
			t.Errorf("lost after %v; want 5s", p.Minimum())
		}
	})
}

// With too few subscribers nobody expects a delivery; it is dropped and counted. A publisher that goes
// offline still learns what became of its messages, and one that lost its connection expects nothing of
// what the broker never acknowledged.
func TestDeliveriesWithoutSomebody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		f, rec := brokerFleet(t, h, func(sensors, _ *fleet.Group) { sensors.Telemetry.Deliveries = 3 })
		to(t, f, 12, 0)
		time.Sleep(10 * time.Second)
		f.Stop(t.Context())
		sent, x := rec.Snapshot().Find(metrics.OpTelemetry, "sensors"), rec.Snapshot().Find(metrics.OpDelivery, "sensors")
		if x.Started() != 0 || x.Dropped[metrics.DropNotConnected] != 3*sent.Started() {
			t.Errorf("%d started, %v dropped; want 3 a message of %d", x.Started(), x.Dropped, sent.Started())
		}
	})
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		f, rec := brokerFleet(t, h, func(sensors, _ *fleet.Group) { sensors.Timeout = time.Minute })
		to(t, f, 12, 0)
		time.Sleep(10 * time.Second)
		h.stall(time.Hour)
		time.Sleep(3 * time.Second)
		for i := range 10 {
			h.drop(fmt.Sprintf("sensors-%d", i))
		}
		f.Stop(t.Context())
		balanced(t, rec.Snapshot())
		sent, x := rec.Snapshot().Find(metrics.OpTelemetry, "sensors"), rec.Snapshot().Find(metrics.OpDelivery, "sensors")
		if sent.Count(metrics.Failed) < 25 || x.Count(metrics.Timeout) != 0 || x.Errors() != 0 {
			t.Errorf("%d messages failed; %d deliveries timed out", sent.Count(metrics.Failed), x.Count(metrics.Timeout))
		}
	})
}

// What reaches a subscriber after its time was not delivered, also when its sender is just connecting and has not noticed.
func TestALateDeliveryIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		h.twins = false
		sensors := fleet.Group{
			Name: "sensors", IDs: []string{"sensors-0"}, Telemetry: fleet.Telemetry{Every: 200 * time.Millisecond, Deliveries: 1}, Timeout: time.Second,
		}
		boards := fleet.Group{Name: "boards", First: 1, IDs: []string{"boards-0"}, Listens: true}
		rec := metrics.NewRecorder(metrics.Options{})
		f, err := fleet.New(fleet.Config{Groups: []fleet.Group{sensors, boards}, Target: h, Driver: h, Recorder: rec})
		if err != nil {
			t.Fatal(err)
		}
		to(t, f, 2, 0)
		time.Sleep(3 * time.Second)
		good := rec.Snapshot().Find(metrics.OpDelivery, "sensors").Count(metrics.OK)
		h.set(func() { h.lag = 1500 * time.Millisecond })
		time.Sleep(900 * time.Millisecond)
		h.stall(time.Hour)
		h.drop("sensors-0")
		time.Sleep(5 * time.Second)
		f.Stop(t.Context())
		x := rec.Snapshot().Find(metrics.OpDelivery, "sensors")
		if good < 10 || x.Count(metrics.OK) != good || x.Count(metrics.Timeout) < 4 || x.Started() != x.Ended() {
			t.Errorf("%d delivered in time, then %d more; %d timed out of %d", good, x.Count(metrics.OK)-good, x.Count(metrics.Timeout), x.Started())
		}
	})
}

// hubFleet is ten devices of a hub with twins that send once a second, for one reader.
func hubFleet(t *testing.T, h *hub) (*fleet.Fleet, *metrics.Recorder, *[]fleet.Contradiction) {
	t.Helper()
	g := fleet.Group{Name: "robots", Telemetry: fleet.Telemetry{Every: time.Second, QoS: 1, Deliveries: 1}, Timeout: 5 * time.Second}
	for i := range 10 {
		g.IDs = append(g.IDs, fmt.Sprintf("robots-%d", i))
	}
	var all []fleet.Contradiction
	rec := metrics.NewRecorder(metrics.Options{})
	f, err := fleet.New(fleet.Config{
		Seed: 1, Target: h, Driver: h, Recorder: rec, Groups: []fleet.Group{g}, Run: "run1",
		OnContradiction: func(c fleet.Contradiction) { all = append(all, c) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return f, rec, &all
}

// readerOf has a reader tell of what reaches a hub: every tenth message of a device is lost, every tenth comes twice, and every tenth when its
// time is up; then also for a second time.
func readerOf(h *hub, f *fleet.Fleet) (lost, twice, late *int) {
	lost, twice, late = new(int), new(int), new(int)
	h.read = func(m link.Message) {
		var v struct {
			Delivery string `json:"_delivery"`
		}
		if json.Unmarshal(m.Payload, &v) != nil {
			return
		}
		body := append([]byte(nil), m.Payload...)
		arrive := func(after time.Duration) {
			time.AfterFunc(after, func() { f.Delivered(body, time.Now()) })
		}
		switch v.Delivery[len(v.Delivery)-1] {
		case '3':
			*lost++
		case '5':
			*twice++
			arrive(20 * time.Millisecond)
			arrive(40 * time.Millisecond)
		case '7':
			*late++
			*twice++
			arrive(6 * time.Second)
			arrive(7 * time.Second)
		default:
			arrive(20 * time.Millisecond)
		}
	}
	return lost, twice, late
}

// A reader that is no device is a subscriber: what it tells of is delivered, and what it does not is lost, to the message.
func TestDeliveriesToReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		f, rec, contradictions := hubFleet(t, h)
		lost, twice, late := readerOf(h, f)
		f.Listening(true)
		f.Listening(true)
		to(t, f, 10, 0)
		time.Sleep(60*time.Second + 500*time.Millisecond)
		for _, of := range []string{`{"_delivery":"other-0-1"}`, `{}`, ``} { // of another run, or of nobody
			f.Delivered([]byte(of), time.Now())
		}
		f.Pause(true)
		time.Sleep(8 * time.Second)
		f.Stop(t.Context())
		balanced(t, rec.Snapshot())
		sent, x := rec.Snapshot().Find(metrics.OpTelemetry, "robots"), rec.Snapshot().Find(metrics.OpDelivery, "robots")
		if *lost == 0 || *twice == 0 || *late == 0 {
			t.Fatal("nothing was lost, late, or came twice")
		}
		if n := uint64(*lost + *late); x.Count(metrics.Timeout) != n || x.Count(metrics.OK) != sent.Started()-n || x.Started() != sent.Started() {
			t.Errorf("%d messages: %d lost, %d delivered; want %d lost", sent.Started(), x.Count(metrics.Timeout), x.Count(metrics.OK), n)
		}
		if x.Missing != int64(*lost) { // those that are late were missing for a while
			t.Errorf("%d are missing; want %d", x.Missing, *lost)
		}
		want := []fleet.Deliveries{{Group: "robots", Duplicates: uint64(*twice), Late: uint64(*late), Missing: uint64(*lost), OutOfOrder: uint64(*late)}}
		if got := f.Deliveries(); !slices.Equal(got, want) {
			t.Errorf("%+v, want %+v", got, want)
		}
		if figures := rec.Figures(); len(figures) != 4 || figures[0].Samples[0].Value != float64(*twice) || figures[3].Samples[0].Value != float64(*lost) {
			t.Errorf("%+v", figures)
		}
		if len(*contradictions) != 0 {
			t.Errorf("%+v", *contradictions)
		}
		f.Delivered([]byte(`{"_delivery":"run1-3-100000"}`), time.Now())
		f.Delivered([]byte(`{"_delivery":"run1-77-1"}`), time.Now())
		if len(*contradictions) != 2 || (*contradictions)[0].Kind != fleet.UnknownDelivery || (*contradictions)[0].Device != "reader" {
			t.Errorf("%+v", *contradictions)
		}
	})
}

// Without a reader nobody expects a message.
func TestDeliveriesWithoutReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		f, rec, _ := hubFleet(t, h)
		readerOf(h, f)
		to(t, f, 10, 0)
		time.Sleep(10 * time.Second)
		f.Stop(t.Context())
		balanced(t, rec.Snapshot())
		sent, x := rec.Snapshot().Find(metrics.OpTelemetry, "robots"), rec.Snapshot().Find(metrics.OpDelivery, "robots")
		if x.Started() != 0 || x.Dropped[metrics.DropNotConnected] != sent.Started() || f.Deliveries()[0] != (fleet.Deliveries{Group: "robots"}) {
			t.Errorf("%d messages, %d deliveries, %v dropped, %+v", sent.Started(), x.Started(), x.Dropped, f.Deliveries())
		}
	})
}

// On a broker a copy that a subscriber had is a duplicate too, of each for himself.
func TestDuplicatesOnBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		h.copies = func(m link.Message) int {
			if strings.Contains(string(m.Payload), `"n":5}`) {
				return 3
			}
			return 1
		}
		f, _ := brokerFleet(t, h, nil)
		to(t, f, 12, 0)
		time.Sleep(20500 * time.Millisecond)
		f.Stop(t.Context())
		if want := []fleet.Deliveries{{Group: "sensors", Duplicates: 10 * 2 * 2}}; !slices.Equal(f.Deliveries(), want) {
			t.Errorf("%+v, want %+v", f.Deliveries(), want)
		}
	})
}

// A reader that was away for long reads all but one message late, more than a device keeps in mind, and some of them twice: that one is missing.
func TestMoreComesLateThanIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		g := fleet.Group{Name: "robots", Telemetry: fleet.Telemetry{Every: 100 * time.Millisecond, QoS: 1, Deliveries: 1}, Timeout: 5 * time.Second}
		f, rec := newFleet(t, h, 1, 1, g)
		var away [][]byte
		h.read = func(m link.Message) {
			if strings.Contains(string(m.Payload), `"_delivery"`) {
				away = append(away, append([]byte(nil), m.Payload...))
			}
		}
		f.Listening(true)
		to(t, f, 1, 0)
		time.Sleep(3 * time.Minute)
		f.Pause(true)
		time.Sleep(8 * time.Second)
		var bodies [][]byte
		h.set(func() { bodies = away })
		n := uint64(len(bodies))
		for i, body := range bodies {
			if i == 300 { // early enough to be forgotten
				continue
			}
			for range 1 + i%2 {
				f.Delivered(body, time.Now())
			}
		}
		f.Stop(t.Context())
		balanced(t, rec.Snapshot())
		x := rec.Snapshot().Find(metrics.OpDelivery, "robots")
		if d := f.Deliveries()[0]; n < 1500 || x.Count(metrics.Timeout) != n || d.Late != n-1 || d.Missing != 1 {
			t.Errorf("of %d messages %d timed out: %+v; want all but one late, and that missing", n, x.Count(metrics.Timeout), d)
		}
	})
}

// A copy for a subscriber who has one hides none of those that never came, also when the time of these is up.
func TestACopyTwiceIsNotAnothers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		h.copies = func(m link.Message) int {
			if strings.Contains(string(m.Payload), `"n":3}`) {
				return 0
			}
			return 1
		}
		f, rec := brokerFleet(t, h, nil)
		h.read = func(m link.Message) {
			if !strings.Contains(string(m.Payload), `"n":3}`) {
				return
			}
			m.Payload = slices.Clone(m.Payload)
			for _, after := range []time.Duration{time.Second, 6 * time.Second} {
				time.AfterFunc(after, func() { h.tell("boards-0", m) })
			}
		}
		to(t, f, 12, 0)
		time.Sleep(20500 * time.Millisecond)
		f.Stop(t.Context())
		balanced(t, rec.Snapshot())
		if want := []fleet.Deliveries{{Group: "sensors", Duplicates: 10, Missing: 10}}; !slices.Equal(f.Deliveries(), want) {
			t.Errorf("%+v, want %+v", f.Deliveries(), want)
		}
	})
}

// Each copy that comes late is missing no more, also of messages that a device has forgotten.
func TestAllCopiesComeLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		h.copies = func(link.Message) int { return 0 }
		f, rec := brokerFleet(t, h, func(sensors, _ *fleet.Group) { sensors.Telemetry.Every = 100 * time.Millisecond })
		to(t, f, 12, 0)
		time.Sleep(3 * time.Minute)
		f.Pause(true)
		time.Sleep(8 * time.Second)
		n := 0
		for sensor, messages := range h.told().messages {
			for _, m := range messages {
				n++
				h.tell("boards-0", m)
				if sensor != "sensors-7" {
					h.tell("boards-1", m)
				}
			}
		}
		f.Stop(t.Context())
		balanced(t, rec.Snapshot())
		never := len(h.told().messages["sensors-7"])
		want := []fleet.Deliveries{{Group: "sensors", Late: uint64(2*n - never), Missing: uint64(never)}}
		if never < 1500 || !slices.Equal(f.Deliveries(), want) {
			t.Errorf("%+v, want %+v", f.Deliveries(), want)
		}
	})
}

// What the target acknowledges when its time is up, and nobody gets, is missing.
func TestAcknowledgedLateAndLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		h.copies = func(link.Message) int { return 0 }
		f, rec := brokerFleet(t, h, nil)
		to(t, f, 12, 0)
		time.Sleep(3 * time.Second)
		h.set(func() { h.latency = 6 * time.Second })
		time.Sleep(5 * time.Second)
		f.Pause(true)
		time.Sleep(20 * time.Second)
		f.Stop(t.Context())
		s := rec.Snapshot()
		balanced(t, s)
		sent, x := s.Find(metrics.OpTelemetry, "sensors"), s.Find(metrics.OpDelivery, "sensors")
		if d := f.Deliveries()[0]; sent.Count(metrics.Timeout) < 20 || x.Count(metrics.Timeout) != 2*sent.Started() || d.Missing != x.Count(metrics.Timeout) {
			t.Errorf("%d of %d messages timed out, %d deliveries did: %+v", sent.Count(metrics.Timeout), sent.Started(), x.Count(metrics.Timeout), d)
		}
	})
}

// At the end subscribers leave last: a message that is sent while they are about to go is delivered.
func TestSubscribersLeaveLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub()
		h.twins, h.latency = false, 20*time.Millisecond
		rec := metrics.NewRecorder(metrics.Options{})
		f, err := fleet.New(fleet.Config{
			Seed: 1, Target: h, Driver: h, Recorder: rec,
			Groups: []fleet.Group{
				{Name: "boards", IDs: []string{"boards-0"}, Listens: true},
				{
					Name: "sensors", First: 1, IDs: []string{"sensors-0", "sensors-1", "sensors-2"}, InFlight: 1, Wait: true,
					Telemetry: fleet.Telemetry{Every: 5 * time.Millisecond, QoS: 1, Deliveries: 1},
				},
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		to(t, f, 4, 0)
		time.Sleep(10 * time.Second)
		f.Stop(t.Context())
		balanced(t, rec.Snapshot())
		x := rec.Snapshot().Find(metrics.OpDelivery, "sensors")
		if n := x.Count(metrics.OK); n != x.Started() || n == 0 || x.DroppedTotal() > 3 { // the first of each come before the board listens
			t.Errorf("%d of %d delivered, %d dropped", n, x.Started(), x.DroppedTotal())
		}
	})
}
