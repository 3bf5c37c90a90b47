package front_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/internal/hub/front"
	"github.com/twinfleet/twinfleet/internal/hub/servicetime"
	"github.com/twinfleet/twinfleet/internal/hub/wiretest"
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
	"github.com/twinfleet/twinfleet/internal/mqtt"
)

// device connects a device that listens to twin responses.
func (s side) device(id string) *wiretest.Wire {
	s.Helper()
	w := s.dial()
	if _, code := w.Connect(wiretest.Login(id, s.backend.key)); code != mqtt.Accepted {
		s.Fatalf("CONNACK %d", code)
	}
	w.Subscribe(0, topics.FilterTwinResponses)
	return w
}

// answers reads n answers and says when each came, in milliseconds since a time.
func answers(w *wiretest.Wire, since time.Time, n int) string {
	var all []string
	for range n {
		f := w.Expect(mqtt.PUBLISH)
		topic, _ := topics.Parse(f.Topic)
		all = append(all, fmt.Sprintf("%s@%d", topic.RequestID, time.Since(since).Milliseconds()))
	}
	return strings.Join(all, " ")
}

// Operations wait for a server in the order in which they came, and are carried out when their service ends.
func TestServiceQueue(t *testing.T) {
	for _, tt := range []struct {
		name    string
		servers int
		a, b    string // when the answers of two devices come; each sends a report and a twin read
	}{
		{"one server", 1, "1@10 2@20", "1@30 2@40"},
		{"two servers", 2, "1@10 2@10", "1@20 2@20"},
		{"a server for each", 4, "1@10 2@10", "1@10 2@10"},
	} {
		inBubble(t, options{}, func(s side) {
			s.Faults().Serve(&servicetime.Model{Servers: tt.servers, Time: 10 * time.Millisecond})
			a, b := s.device("dev-a"), s.device("dev-b")
			began := time.Now()
			for _, w := range []*wiretest.Wire{a, b} {
				w.Publish(0, topics.Report("1"), "{}")
				w.Publish(0, topics.TwinGet("2"), "")
				w.Silent() // other packets are answered meanwhile
			}
			if s.reported() != 0 {
				s.Errorf("%s: %d reports were carried out before their time", tt.name, s.reported())
			}
			gotA := answers(a, began, 2)
			if gotB := answers(b, began, 2); gotA != tt.a || gotB != tt.b || s.reported() != 2 {
				s.Errorf("%s: answers %q and %q; want %q and %q", tt.name, gotA, gotB, tt.a, tt.b)
			}
			time.Sleep(time.Second) // and servers that idled begin at once
			began = time.Now()
			a.Publish(0, topics.Report("3"), "{}")
			if got := answers(a, began, 1); got != "3@10" {
				s.Errorf("%s: then %s; want 3@10", tt.name, got)
			}
		})
	}
}

func (s side) reported() int64 {
	s.backend.mu.Lock()
	defer s.backend.mu.Unlock()
	return s.backend.reports
}

// One seed gives one sequence of times with the mean that was asked for; a device's answers keep their order.
func TestServiceTimes(t *testing.T) {
	inBubble(t, options{}, func(s side) {
		const n = 4000
		run := func(seed uint64) (ends []time.Duration) {
			s.Faults().Serve(&servicetime.Model{Servers: 1, Time: 10 * time.Millisecond, Exponential: true, Seed: seed})
			w := s.device("dev-a")
			began := time.Now()
			for i := range n {
				w.Publish(0, topics.Report(fmt.Sprint(i)), "{}")
				f := w.Expect(mqtt.PUBLISH)
				if want := fmt.Sprint("rid=", i, "&"); !strings.Contains(f.Topic, want) {
					s.Fatalf("%s came; want %s", f.Topic, want)
				}
				ends = append(ends, time.Since(began))
			}
			return ends
		}
		first := run(1)
		if mean := first[n-1].Seconds() / n; math.Abs(mean/0.010-1) > 0.05 {
			s.Errorf("an operation takes %.4fs; want 10ms", mean)
		}
		if !slices.Equal(first, run(1)) || slices.Equal(first, run(2)) {
			s.Error("times do not follow from the seed")
		}
		s.Faults().Serve(&servicetime.Model{Servers: 50, Time: 10 * time.Millisecond, Exponential: true, Seed: 3})
		w := s.device("dev-b")
		for i := range 50 {
			w.Publish(0, topics.Report(fmt.Sprint(i)), "{}")
		}
		for i := range 50 { // although later ones are served sooner
			if f := w.Expect(mqtt.PUBLISH); !strings.Contains(f.Topic, fmt.Sprint("rid=", i, "&")) {
				s.Fatalf("%s came; want %d", f.Topic, i)
			}
		}
	})
}

// What waits when the model is taken away is carried out at once, in order, and before what comes then.
func TestServiceEnds(t *testing.T) {
	inBubble(t, options{}, func(s side) {
		s.Faults().Serve(&servicetime.Model{Servers: 1, Time: time.Minute})
		w := s.device("dev-a")
		began := time.Now()
		for _, rid := range []string{"1", "2", "3"} {
			w.Publish(0, topics.Report(rid), "{}")
		}
		w.Silent()
		time.Sleep(time.Second)
		s.Faults().Serve(nil)
		w.Publish(0, topics.Report("4"), "{}")
		if got := answers(w, began, 4); got != "1@1000 2@1000 3@1000 4@1000" {
			s.Errorf("answers %s; want all after a second", got)
		}
		time.Sleep(time.Second)
		w.Publish(0, topics.Report("5"), "{}")
		if got := answers(w, began, 1); got != "5@2000" {
			s.Errorf("then %s; want 5@2000", got)
		}
		s.Faults().Serve(&servicetime.Model{Servers: 1, Time: time.Hour})
		w.Publish(0, topics.Report("6"), "{}")
		w.Silent() // Close, at the end, waits for nobody's service
	})
}

// A stall holds up what would be answered; a device that went away, and one that does not read, hold up nobody.
func TestServiceAndOtherFaults(t *testing.T) {
	inBubble(t, options{Options: front.Options{WriteTimeout: 5 * time.Second}}, func(s side) {
		s.Faults().Serve(&servicetime.Model{Servers: 1, Time: 10 * time.Millisecond})
		a, b, gone := s.device("dev-a"), s.device("dev-b"), s.device("dev-c")
		began := time.Now()
		gone.Publish(0, topics.Report("1"), "{}")
		gone.Silent()
		gone.Conn.Close()
		for i := range 150 { // more than the test's reader takes
			a.Publish(0, topics.TwinGet(fmt.Sprint(i)), "")
		}
		b.Publish(0, topics.Report("1"), "{}")
		b.Silent() // it is in the queue
		s.Faults().Stall(4 * time.Second)
		got := answers(b, began, 1)
		synctest.Wait()
		if got != "1@4000" || s.reported() != 2 {
			s.Errorf("answers %s, %d reports; want one after the stall of 4s, 2", got, s.reported())
		}
	})
}
