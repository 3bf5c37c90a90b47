package fleet_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/payload"
	"github.com/twinfleet/twinfleet/fleet/protocol"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/schedule"
)

// topicOf is topics by device below a level.
func topicOf(level string) func(protocol.Device) string {
	return func(d protocol.Device) string { return level + "/" + d.ID }
}

// kinds has sensors send readings every second and alarms every three, of draws by chance.
func kinds(t *testing.T) func(s, l *fleet.Group) {
	t.Helper()
	drawn, err := payload.CompileText("{{ int 0 1000000 }}")
	if err != nil {
		t.Fatal(err)
	}
	return func(s, _ *fleet.Group) {
		s.Telemetry = fleet.Telemetry{Every: time.Second, Rated: true, Payload: drawn, QoS: 1}
		s.Kinds = []fleet.Kind{{Name: "alarms", Telemetry: fleet.Telemetry{
			Every: 3 * time.Second, Rated: true, Payload: drawn, QoS: 2, Retain: true, Topic: topicOf("alarms"),
		}}}
	}
}

// Kinds of messages have schedules, draws, topics and series of their own, and rates of stages ask for telemetry alone. Fleets that are parts of one
// send what the whole would.
func TestKindsOfMessages(t *testing.T) {
	send := func(t *testing.T, change func(s *fleet.Group), mine ...func(int) bool) (map[string][]string, *metrics.Snapshot) {
		all := map[string][]string{}
		var last *metrics.Snapshot
		for _, m := range mine {
			synctest.Test(t, func(t *testing.T) {
				b := newBroker(link.V5, boards)
				g := fleet.Group{Name: "sensors", Timeout: 5 * time.Second}
				kinds(t)(&g, nil)
				change(&g)
				for i := range 6 {
					g.IDs = append(g.IDs, fmt.Sprintf("sensors-%d", i))
				}
				rec := metrics.NewRecorder(metrics.Options{})
				f, err := fleet.New(fleet.Config{Seed: 3, Target: b, Driver: b, Recorder: rec, Groups: []fleet.Group{g}, Mine: m})
				if err != nil {
					t.Fatal(err)
				}
				to(t, f, 6, 0)
				load := schedule.Curve{{Duration: 10 * time.Second, From: 12, To: 12}}
				if err := f.Load(t.Context(), metrics.OpTelemetry, load); err != nil {
					t.Fatal(err)
				}
				time.Sleep(20 * time.Second)
				f.Stop(t.Context())
				last = rec.Snapshot()
				balanced(t, last)
				for topic, messages := range b.told().sent {
					for _, m := range messages {
						all[topic] = append(all[topic], string(m.Payload))
						if alarm := strings.HasPrefix(topic, "alarms/"); m.Retain != alarm || (m.QoS == 2) != alarm {
							t.Errorf("%+v", m)
						}
					}
				}
			})
		}
		return all, last
	}
	same := func(*fleet.Group) {}
	whole, s := send(t, same, nil)
	readings, alarms := s.Find(metrics.OpTelemetry, "sensors").Started(), s.Find(metrics.OpTelemetry, "sensors/alarms").Started()
	if readings < 180+110 || readings > 180+130 || alarms != 60 {
		t.Errorf("%d readings and %d alarms; want 180 and the 120 of the rate, and 60", readings, alarms)
	}
	parts, _ := send(t, same, func(i int) bool { return i < 2 }, func(i int) bool { return i >= 2 })
	if fmt.Sprint(parts) != fmt.Sprint(whole) {
		t.Error("fleets that are parts of one send something else")
	}
	// That telemetry is sent at all changes nothing about alarms, and they are drawn by themselves.
	alone, _ := send(t, func(g *fleet.Group) { g.Telemetry = fleet.Telemetry{Rated: true} }, nil)
	for topic, messages := range whole {
		if strings.HasPrefix(topic, "alarms/") && fmt.Sprint(messages) != fmt.Sprint(alone[topic]) {
			t.Errorf("%s depends on telemetry: %v and %v", topic, messages, alone[topic])
		}
		if strings.HasPrefix(topic, "t/") && messages[0] == whole["alarms/"+strings.TrimPrefix(topic, "t/")][0] {
			t.Errorf("%s and the alarms have the same draws", topic)
		}
	}
}

// askers has sensors ask once a second, and the boards answer.
func askers(qos byte, respond bool) func(s, l *fleet.Group) {
	return func(s, l *fleet.Group) {
		s.Telemetry = fleet.Telemetry{Every: time.Second, QoS: qos, Requests: true, Deliveries: -1, Properties: func(d protocol.Device) *link.Properties {
			return &link.Properties{ResponseTopic: "replies/" + d.ID, User: []link.UserProperty{{Name: "a", Value: "b"}}}
		}}
		l.Respond = respond
	}
}

// A request ends with its response: in time, never, late, once however often it comes, and not at all when it was not sent.
func TestRequests(t *testing.T) {
	for name, tt := range map[string]struct {
		respond bool
		trouble func(b *broker)
		want    metrics.Outcome
	}{
		"in time": {true, func(*broker) {}, metrics.OK},
		"twice": {true, func(b *broker) {
			b.copies = func(m link.Message) int {
				if strings.HasPrefix(m.Topic, "replies/") {
					return 2
				}
				return 1
			}
		}, metrics.OK},
		"never": {false, func(*broker) {}, metrics.Timeout},
		"late": {true, func(b *broker) {
			b.latency = 1400 * time.Millisecond
		}, metrics.Timeout},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				// A board hears the responses too: they are no deliveries.
				b := newBroker(link.V5, func(string) []link.Filter { return []link.Filter{{Topic: "t/#", QoS: 1}, {Topic: "replies/#", QoS: 1}} })
				f, rec := keptFleet(t, b, 2, 1, askers(1, tt.respond))
				to(t, f, 3, 0)
				time.Sleep(5 * time.Second)
				b.set(func() { tt.trouble(b) })
				time.Sleep(20 * time.Second)
				f.Stop(t.Context())
				s := rec.Snapshot()
				balanced(t, s)
				x, sent := s.Find(metrics.OpRequest, "sensors"), s.Find(metrics.OpTelemetry, "sensors")
				if x.Scheduled() != sent.Scheduled() || sent.Count(metrics.OK) != sent.Started() {
					t.Errorf("%d requests of %d messages, %d of them well", x.Scheduled(), sent.Scheduled(), sent.Count(metrics.OK))
				}
				if tt.want == metrics.OK && x.Count(metrics.OK) != x.Started() || tt.want != metrics.OK && x.Count(tt.want) < 30 {
					t.Errorf("%d of %d requests ended %s", x.Count(tt.want), x.Started(), tt.want)
				}
				if d := f.Deliveries()[0]; d.Duplicates+d.OutOfOrder+d.Missing > 0 {
					t.Errorf("%+v", d)
				}
				if m := b.told().sent["replies/sensors-0"]; tt.respond && (len(m) == 0 || len(m[0].Properties.Correlation) == 0 || m[0].Properties.ResponseTopic != "") {
					t.Errorf("responses %+v", m)
				}
			})
		})
	}
}

// A request that was not sent is none that nobody answered.
func TestRequestsThatAreNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(link.V5, boards)
		f, rec := keptFleet(t, b, 2, 1, askers(0, true))
		to(t, f, 3, 0)
		time.Sleep(5 * time.Second)
		b.set(func() { b.latency = time.Second })
		time.Sleep(1500 * time.Millisecond)
		b.drop("sensors-0", "sensors-1")
		b.set(func() { b.latency = time.Millisecond })
		time.Sleep(5 * time.Second)
		f.Stop(t.Context())
		s := rec.Snapshot()
		balanced(t, s)
		if x := s.Find(metrics.OpRequest, "sensors"); x.Count(metrics.Failed) == 0 || x.Count(metrics.Timeout) != 0 {
			t.Errorf("%d failed, %d timed out; want those that were lost with their connection", x.Count(metrics.Failed), x.Count(metrics.Timeout))
		}
	})
}

// On one topic for the responses of all, each device takes its own alone: whom nobody answers waits in vain.
func TestResponsesAreOfOneDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(link.V5, func(string) []link.Filter { return []link.Filter{{Topic: "t/sensors-0", QoS: 1}} })
		f, rec := keptFleet(t, b, 2, 1, func(s, l *fleet.Group) {
			s.Telemetry = fleet.Telemetry{Every: time.Second, QoS: 1, Requests: true, Properties: func(protocol.Device) *link.Properties {
				return &link.Properties{ResponseTopic: "replies"}
			}}
			l.Respond = true
		})
		to(t, f, 3, 0)
		time.Sleep(20*time.Second + 500*time.Millisecond)
		f.Stop(t.Context())
		s := rec.Snapshot()
		balanced(t, s)
		x := s.Find(metrics.OpRequest, "sensors")
		if ok, lost := x.Count(metrics.OK), x.Count(metrics.Timeout); ok < 15 || lost < 15 || ok+lost != x.Started() {
			t.Errorf("%d of %d answered, %d timed out; want one half of each", ok, x.Started(), lost)
		}
	})
}
