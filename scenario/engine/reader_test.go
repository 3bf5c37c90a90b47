package engine_test

import (
	"context"
	"encoding/json"
	"errors"
	"hash/fnv"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/link/lean"
	"github.com/twinfleet/twinfleet/internal/eventhub"
	"github.com/twinfleet/twinfleet/internal/eventhub/eventhubtest"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/findings"
	"github.com/twinfleet/twinfleet/scenario/engine"
)

// relay is a driver that has messages of devices logged by a peer too, as many times as copies says.
type relay struct {
	link.Driver
	peer   *eventhubtest.Peer
	copies func(n int64) int
	sent   atomic.Int64
}

func (r *relay) Connect(ctx context.Context, o link.Options) (link.Conn, error) {
	c, err := r.Driver.Connect(ctx, o)
	if err != nil {
		return nil, err
	}
	h := fnv.New32a()
	h.Write([]byte(o.ClientID))
	return &relayed{c, r, int(h.Sum32() % 4)}, nil
}

type relayed struct {
	link.Conn
	relay     *relay
	partition int // a hub has all messages of a device in one
}

func (c *relayed) Publish(m link.Message, done func(error)) {
	if strings.HasSuffix(m.Topic, "/messages/events/") {
		n := c.relay.sent.Add(1)
		body := string(m.Payload)
		for range c.relay.copies(n) {
			time.AfterFunc(25*time.Millisecond, func() { c.relay.peer.Put(c.partition, body) })
		}
	}
	c.Conn.Publish(m, done)
}

const delivering = `
name: delivering
fleet: {groups: [{name: robots, count: 10, timeout: 5s, telemetry: {every: 1s, payload: {n: "{{ seq }}"}, deliveries: 1}}]}
stages: [{name: hold, duration: 30s, devices: 100%}, {name: quiet, duration: 10s, paused: true}]
thresholds:
  delivery: ["max < 100ms", "scheduled > 100"]
`

// runRead runs a scenario whose messages are read at a peer.
func runRead(t *testing.T, yaml string, peer *eventhubtest.Peer, copies func(n int64) int) (*report.Run, *relay) {
	t.Helper()
	r := &relay{Driver: lean.New(), peer: peer, copies: copies}
	o := engine.Options{Scenario: decode(t, yaml), Recorder: punctual(), AllowSaturated: true}
	o = engine.InMemory(engine.Sampled(o, calm()), nil)
	o = engine.ReadBy(o, func(x eventhub.Options) (*eventhub.Reader, error) {
		x.Host, x.Addr, x.Policy, x.Key, x.Dial = "iot", "iot:5671", "service", peer.Key, peer.Dial
		return eventhub.New(x)
	}, r)
	return engine.New(o).Run(t.Context()), r
}

// What devices send over MQTT, and what the run reads of it, are the deliveries of a hub: all of them, in the time that they took.
func TestDeliveriesOfHub(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		run, relay := runRead(t, delivering, eventhubtest.New(t, 4), func(int64) int { return 1 })
		x := run.Totals.Find(metrics.OpDelivery, "robots")
		if run.Outcome != report.Passed || x.Count(metrics.OK) != uint64(relay.sent.Load()) || x.Scheduled() != x.Count(metrics.OK) {
			t.Errorf("%s: %s; %d of %d delivered, of %d", run.Outcome, run.Reason, x.Count(metrics.OK), x.Scheduled(), relay.sent.Load())
		}
		if p := x.Latency(false); p.Minimum().Round(time.Millisecond) != 25*time.Millisecond || p.Maximum().Round(time.Millisecond) != 25*time.Millisecond {
			t.Errorf("deliveries took %v to %v", p.Minimum(), p.Maximum())
		}
		if d := run.Deliveries; d == nil || d.Groups[0] != (report.Copies{Group: "robots"}) || *d.Reader != (report.Reading{Messages: uint64(relay.sent.Load())}) {
			b, _ := json.Marshal(d)
			t.Errorf("%s", b)
		}
		checkParts(t, run)
	})
}

// A message that the hub loses is lost, one that it has twice comes twice: to the message.
func TestLossAndDuplicatesOfHub(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		run, relay := runRead(t, delivering, eventhubtest.New(t, 4), func(n int64) int {
			switch n % 10 {
			case 3:
				return 0
			case 5:
				return 2
			}
			return 1
		})
		sent := relay.sent.Load()
		lost, twice := uint64((sent+6)/10), uint64((sent+4)/10)
		x := run.Totals.Find(metrics.OpDelivery, "robots")
		if x.Count(metrics.Timeout) != lost || x.Count(metrics.OK) != uint64(sent)-lost || run.Deliveries.Groups[0].Duplicates != twice {
			t.Errorf("of %d messages %d were lost, %d delivered and %d came twice; want %d and %d", sent, x.Count(metrics.Timeout), x.Count(metrics.OK),
				run.Deliveries.Groups[0].Duplicates, lost, twice)
		}
		// What was acknowledged and never came fails the run, whatever its thresholds say.
		if run.Outcome != report.Failed || run.Deliveries.Groups[0].Missing != lost || !strings.Contains(run.Reason, "acknowledged that never arrived") {
			t.Errorf("the run %s: %s", run.Outcome, run.Reason)
		}
		if all := findings.Of(run); len(all) != 2 || !strings.Contains(all[1].Text, "further copies of messages came") {
			t.Errorf("%+v", all)
		}
		checkParts(t, run)
	})
}

// A reader that loses its connection reads what came meanwhile, and the report says that.
func TestReaderLosesItsConnection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		peer := eventhubtest.New(t, 4)
		run, relay := runRead(t, strings.Replace(delivering, "max < 100ms", "max < 5s", 1), peer, func(n int64) int {
			if n == 100 {
				go peer.Cut(2 * time.Second)
			}
			return 1
		})
		x := run.Totals.Find(metrics.OpDelivery, "robots")
		d := run.Deliveries.Reader
		if run.Outcome != report.Passed || x.Count(metrics.OK) != uint64(relay.sent.Load()) || d.Losses != 1 || d.Away < 2*time.Second || !strings.Contains(d.Error, "the connection is lost") || d.Repeated != 0 {
			t.Errorf("%s: %s; %d of %d, %+v", run.Outcome, run.Reason, x.Count(metrics.OK), relay.sent.Load(), d)
		}
		if all := findings.Of(run); len(all) != 1 || !strings.Contains(all[0].Text, "the reader of messages lost its connection once and was away for 3.00s") {
			t.Errorf("%+v", all)
		}
	})
}

// What comes after its time is late, and so are the last messages of a run, which come when all else of it is over: the hub lost none.
func TestLastMessagesComeLate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		yaml := strings.NewReplacer("timeout: 5s", "timeout: 20ms", "every: 1s", "every: 100ms", ", {name: quiet, duration: 10s, paused: true}", "").Replace(delivering)
		run, relay := runRead(t, yaml, eventhubtest.New(t, 4), func(int64) int { return 1 })
		want := report.Copies{Group: "robots", Late: uint64(relay.sent.Load())}
		if g := run.Deliveries.Groups[0]; g != want || strings.Contains(run.Reason, "acknowledged that never arrived") {
			t.Errorf("%+v, want %+v: %s", g, want, run.Reason)
		}
	})
}

// What was in a log of the hub that is no more, and not read, is lost, and the report says so: nobody can tell whether it was there.
func TestLogOfHubBeginsAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		peer := eventhubtest.New(t, 4)
		run, _ := runRead(t, delivering, peer, func(n int64) int {
			if n == 100 {
				go peer.Cut(2 * time.Second)
				time.AfterFunc(time.Second, peer.Renew)
			}
			return 1
		})
		d := run.Deliveries
		if d.Reader.Restarts != 1 || d.Groups[0].Missing == 0 || strings.Contains(run.Reason, "acknowledged that never arrived") {
			t.Errorf("%+v, %+v: %s", d.Groups, d.Reader, run.Reason)
		}
	})
}

// A run whose reader cannot begin fails before its devices start.
func TestReaderThatCannotBegin(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*eventhub.Options){
		"the policy of target.hub must have ServiceConnect": func(o *eventhub.Options) { o.Policy = "registryRead" },
		"within 1m0s: ": func(o *eventhub.Options) { o.Addr = "elsewhere:5671"; o.Dial = nobody },
	} {
		synctest.Test(t, func(t *testing.T) {
			peer := eventhubtest.New(t, 1)
			o := engine.InMemory(engine.Sampled(engine.Options{Scenario: decode(t, delivering), Recorder: punctual()}, calm()), nil)
			o = engine.ReadBy(o, func(x eventhub.Options) (*eventhub.Reader, error) {
				x.Host, x.Addr, x.Policy, x.Key, x.Dial = "iot", "iot:5671", "service", peer.Key, peer.Dial
				change(&x)
				return eventhub.New(x)
			}, nil)
			run := engine.New(o).Run(t.Context())
			if run.Outcome != report.Failed || !strings.Contains(run.Reason, name) || !strings.Contains(run.Reason, "deliveries cannot be measured") {
				t.Errorf("the run %s: %s", run.Outcome, run.Reason)
			}
			if x := run.Totals.Select(metrics.OpConnect, ""); x != nil && x.Started() > 0 {
				t.Errorf("%d devices connected", x.Started())
			}
		})
	}
}

func nobody(context.Context, string) (net.Conn, error) { return nil, errors.New("connection refused") }

// What devices send over each transport is read at the embedded hub's own endpoint, all of it.
func TestDeliveriesOfEmbeddedHub(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := engine.Options{Scenario: decode(t, `
name: delivering
fleet:
  client: lean
  groups:
    - {name: mqtt, count: 5, telemetry: {every: 1s, qos: 1, payload: {n: "{{ seq }}"}, deliveries: 1}}
    - {name: amqp, count: 5, transport: amqp, telemetry: {every: 1s, qos: 1, payload: {n: "{{ seq }}"}, deliveries: 1}}
    - {name: gateway, count: 20, transport: amqp, devices_per_connection: 10, telemetry: {every: 1s, qos: 1, payload: {n: "{{ seq }}"}, deliveries: 1}}
    - {name: https, count: 5, transport: https, telemetry: {every: 1s, payload: {n: "{{ seq }}"}, deliveries: 1}}
stages: [{name: hold, duration: 30s, devices: 100%}, {name: quiet, duration: 10s, paused: true}]
thresholds:
  delivery: ["max < 100ms", "scheduled > 400"]
`), Recorder: punctual(), AllowSaturated: true}
		run := engine.New(engine.InMemory(engine.Sampled(o, calm()), nil)).Run(t.Context())
		if run.Outcome != report.Passed {
			t.Errorf("%s: %s", run.Outcome, run.Reason)
		}
		for _, group := range []string{"mqtt", "amqp", "gateway", "https"} {
			sent, got := run.Totals.Find(metrics.OpTelemetry, group), run.Totals.Find(metrics.OpDelivery, group)
			if n := sent.Count(metrics.OK); n < 50 || got.Count(metrics.OK) != n || got.Scheduled() != n {
				t.Errorf("%s: %d of %d sent, %d of %d delivered", group, n, sent.Scheduled(), got.Count(metrics.OK), got.Scheduled())
			}
		}
		checkParts(t, run)
	})
}
