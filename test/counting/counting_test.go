//go:build integration

package counting

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
)

// shape is who sends to whom.
type shape struct {
	name             string
	sensors, boards  int
	every            time.Duration
	timeout, anyones int // in seconds; subscribers that each message is for
	client           string
}

func (s shape) scenario(qos int) string {
	return fmt.Sprintf(`
name: counting
seed: 5
target: {hub: "mqtt://PROXY"}
fleet:
  client: %s
  groups:
    - {name: sensors, count: %d, timeout: %ds, telemetry: {topic: "plant/{device}/up", every: %s, qos: %d, deliveries: %d, payload: {n: "{{ seq }}"}}}
    - {name: boards, count: %d, subscribe: {topics: ["plant/+/up"], qos: %d}}
stages:
  - {name: up, duration: 500ms, devices: 100%%, paused: true}
  - {name: settle, duration: 700ms, paused: true}
  - {name: hold, duration: 2s}
  - {name: rest, duration: 800ms, paused: true}
`, s.client, s.sensors, s.timeout, s.every, qos, s.anyones, s.boards, qos)
}

func shapes() []shape {
	return []shape{
		{"fan-in", 40, 1, 100 * time.Millisecond, 2, 1, "paho"},
		{"fan-out", 2, 30, 100 * time.Millisecond, 2, 30, "lean"},
		{"both", 10, 3, 50 * time.Millisecond, 2, 3, "lean"}, // Paho hands on QoS 2 that comes again before its PUBREL
	}
}

func sensors(client string) bool { return strings.HasPrefix(client, "sensors") }

// Without faults, and when copies are lost, come twice or in another order, a run says to the copy what the wire does.
func TestRunsCountAsTheWire(t *testing.T) {
	t.Parallel()
	fates := []struct {
		name string
		fate func(Copy) Fate
		want func(a Account, qos int) bool
	}{
		{"all well", nil, func(a Account, _ int) bool { return a.InTime == a.Due() && a.Duplicates+a.OutOfOrder == 0 }},
		{"lost", func(c Copy) Fate {
			if one(c, 7) {
				return Lose
			}
			return Pass
		}, func(a Account, _ int) bool { return a.Missing+a.Silent > 0 }},
		{"twice", func(c Copy) Fate {
			if one(c, 7) {
				return Twice
			}
			return Pass
		}, func(a Account, qos int) bool { return a.InTime == a.Due() && (a.Duplicates > 0) == (qos < 2) }}, // of QoS 2 that is no copy
		{"out of order", func(c Copy) Fate {
			if one(c, 7) {
				return Swap
			}
			return Pass
		}, func(a Account, _ int) bool { return a.OutOfOrder > 0 }},
		{"everything", func(c Copy) Fate {
			switch {
			case one(c, 7):
				return Lose
			case one(c, 5):
				return Twice
			case one(c, 3):
				return Swap
			}
			return Pass
		}, func(a Account, _ int) bool { return a.Missing+a.Silent > 0 && a.OutOfOrder > 0 }},
	}
	for _, b := range brokers() {
		for _, f := range fates {
			for i, s := range shapes() {
				for qos := range 3 {
					if qos != i && (f.fate != nil || b.name != "mosquitto") { // each shape with one
						continue
					}
					t.Run(fmt.Sprintf("%s/%s/%s/qos %d", b.name, f.name, s.name, qos), func(t *testing.T) {
						t.Parallel()
						p := between(t, b.start(t))
						p.Fates(f.fate)
						run := carry(t, p, s.scenario(qos))
						a := p.Judge(Judging{Publishers: sensors, Timeout: time.Duration(s.timeout) * time.Second, Anyone: s.anyones})
						hold(t, of(t, run, "sensors"), a, 0)
						if a.Edge > 0 || !f.want(a, qos) {
							t.Error("the faults did nothing, or more than was asked for")
						}
					})
				}
			}
		}
	}
}

// When connections end, when the broker is away or holds back what it has to say, a run says what the wire does, but for what happened just then.
func TestRunsCountWithinBounds(t *testing.T) {
	t.Parallel()
	for i, c := range []struct {
		name  string
		fault func(t *testing.T, p *Proxy, b *mosquitto)
		want  func(Account) bool
	}{
		{"subscribers reconnect", func(_ *testing.T, p *Proxy, _ *mosquitto) {
			p.Shut(func(client string) bool { return strings.HasPrefix(client, "boards") }, time.Second)
		}, func(a Account) bool { return a.Absent > 0 }},
		{"publishers reconnect", func(_ *testing.T, p *Proxy, _ *mosquitto) { p.Cut(sensors) }, func(Account) bool { return true }},
		{"storm", func(_ *testing.T, p *Proxy, _ *mosquitto) { p.Shut(nil, 500*time.Millisecond) }, func(Account) bool { return true }},
		{"frozen", func(_ *testing.T, p *Proxy, _ *mosquitto) { p.Freeze(2800 * time.Millisecond) }, func(a Account) bool { return a.Late > 0 }},
		{"broker restarts", func(t *testing.T, _ *Proxy, b *mosquitto) { b.restart(t) }, func(Account) bool { return true }},
	} {
		for _, qos := range []int{1, i % 2 * 2} {
			t.Run(fmt.Sprintf("%s/qos %d", c.name, qos), func(t *testing.T) {
				t.Parallel()
				b := newMosquitto(t)
				p := between(t, b.addr)
				s := shape{c.name, 10, 3, 50 * time.Millisecond, 2, 3, "lean"}
				text := strings.Replace(s.scenario(qos), "hold, duration: 2s", "hold, duration: 7s", 1) // so that little of it is what cannot be decided
				text = strings.Replace(text, "rest, duration: 800ms", "rest, duration: 4s", 1)          // all are back
				timer := time.AfterFunc(2500*time.Millisecond, func() { c.fault(t, p, b) })
				defer timer.Stop()
				run := carry(t, p, text)
				a := p.Judge(Judging{Publishers: sensors, Timeout: time.Duration(s.timeout) * time.Second, Anyone: s.anyones})
				sent := int(run.Totals.Find(metrics.OpTelemetry, "sensors").Started())
				hold(t, of(t, run, "sensors"), a, (sent-a.Messages)*s.anyones)
				if a.Edge > a.Due()/5 || !c.want(a) {
					t.Error("the fault did nothing, or more than can be decided")
				}
			})
		}
	}
}
