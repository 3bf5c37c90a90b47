//go:build integration

package counting

import (
	"cmp"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
)

const keeping = `
name: counting
seed: 5
target: {hub: "mqtt://PROXY", mqtt: "VERSION"}
fleet:
  client: lean
  groups:
    - {name: sensors, count: 10, timeout: 4s, SENDS telemetry: {topic: "plant/{device}/up", every: 50ms, qos: QOS, deliveries: all, payload: {n: "{{ seq }}"}}}
    - {name: boards, count: 3, GETS subscribe: {topics: ["plant/+/up"], qos: QOS}}
stages:
  - {name: up, duration: 500ms, devices: 100%, paused: true}
  - {name: settle, duration: 700ms, paused: true}
  - {name: hold, duration: HOLD}
  - {name: rest, duration: 2500ms, paused: true}
`

func boards(client string) bool { return strings.HasPrefix(client, "boards") }

// row is a case of what befalls a fleet.
type row struct {
	name        string
	sends, gets string // keys of publishers, and of subscribers
	qos         int
	hold        string // how long messages are sent; 3500ms when empty
	versions    string // of MQTT; both when empty
	config      []string
	fault       func(t *testing.T, p *Proxy, b *mosquitto) // 2.2 s after the beginning
	want        func(Account) bool
}

const keeps = "session: {clean: false},"

// longest is the longest delay of those in time.
func (a Account) longest() time.Duration { return a.Delays[len(a.Delays)-1] }

// Sessions that are kept have what was queued delivered, with the absence in its time; what was under way is delivered once, or counted as what it is.
func TestKeptSessions(t *testing.T) {
	t.Parallel()
	away := func(_ *testing.T, p *Proxy, _ *mosquitto) { p.Shut(boards, time.Second) }
	queued := func(a Account) bool { return a.Missing+a.Absent == 0 && a.longest() > 900*time.Millisecond }
	any := func(Account) bool { return true }
	durable := []string{"persistence true", "persistence_location DIR/"}
	for _, r := range []row{
		{name: "subscribers return", gets: keeps, qos: 1, fault: away, want: queued},
		{name: "subscribers return", gets: keeps, qos: 2, fault: away, want: func(a Account) bool { return queued(a) && a.Duplicates == 0 }},
		{name: "subscribers return to nothing kept", gets: keeps, qos: 0, hold: "7s", fault: away, want: func(a Account) bool { return a.Absent > 0 }},
		{
			name: "subscribers return too late", gets: "session: {clean: false, expiry: 1s, online: 3s, offline: 3s},", qos: 1, hold: "8s", versions: "5",
			want: func(a Account) bool { return a.Missing == 0 && a.Absent > 0 },
		},
		{name: "publishers return", sends: keeps, qos: 1, fault: func(_ *testing.T, p *Proxy, _ *mosquitto) { p.Cut(sensors) }, want: func(a Account) bool { return a.NotSent == 0 }},
		{
			name: "publishers return", sends: keeps, qos: 2, fault: func(_ *testing.T, p *Proxy, _ *mosquitto) { p.Cut(sensors) },
			want: func(a Account) bool { return a.NotSent+a.Duplicates == 0 },
		},
		{name: "storm", sends: keeps, gets: keeps, qos: 1, fault: func(_ *testing.T, p *Proxy, _ *mosquitto) { p.Shut(nil, 500*time.Millisecond) }, want: any},
		{name: "churn", sends: keeps, gets: "session: {clean: false, online: 1s, offline: 500ms},", qos: 1, want: queued500},
		{name: "churn", sends: "session: {clean: false, online: 1s, offline: 500ms},", gets: keeps, qos: 2, want: any},
		{name: "broker restarts with nothing", sends: keeps, gets: keeps, qos: 1, fault: func(t *testing.T, _ *Proxy, b *mosquitto) { b.restart(t) }, want: any},
		{ // Mosquitto 2.0 now and then loses some that are under way; with QoS 2 it may also have them come twice
			name: "broker restarts", sends: keeps, gets: keeps, qos: 1, config: durable, fault: func(t *testing.T, _ *Proxy, b *mosquitto) { b.again(t) },
			want: any,
		},
		{
			name: "broker restarts", sends: keeps, gets: keeps, qos: 2, config: durable, fault: func(t *testing.T, _ *Proxy, b *mosquitto) { b.again(t) },
			want: any,
		},
	} {
		for _, version := range []string{"3.1.1", "5"} {
			if r.versions != "" && r.versions != version {
				continue
			}
			t.Run(fmt.Sprintf("%s/qos %d/%s", r.name, r.qos, version), func(t *testing.T) {
				t.Parallel()
				b := newMosquitto(t, r.config...)
				p := between(t, b.addr)
				if r.fault != nil {
					timer := time.AfterFunc(2200*time.Millisecond, func() { r.fault(t, p, b) })
					defer timer.Stop()
				}
				run := carry(t, p, strings.NewReplacer("VERSION", version, "SENDS", r.sends, "GETS", r.gets, "QOS", fmt.Sprint(r.qos), "HOLD", cmp.Or(r.hold, "3500ms")).Replace(keeping))
				a := p.Judge(Judging{Publishers: sensors, Timeout: 4 * time.Second})
				sent := int(run.Totals.Find(metrics.OpTelemetry, "sensors").Started())
				hold(t, of(t, run, "sensors"), a, (sent-a.Messages)*3)
				holdDelays(t, a, run, "sensors")
				if a.Edge > a.Due()/5 || !r.want(a) {
					t.Error("the fault did nothing, or more than can be decided")
				}
			})
		}
	}
}

func queued500(a Account) bool { return a.Missing+a.Absent == 0 && a.longest() > 450*time.Millisecond }
