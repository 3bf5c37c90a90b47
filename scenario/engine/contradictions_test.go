package engine_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/internal/hub"
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
	"github.com/twinfleet/twinfleet/internal/memnet"
	"github.com/twinfleet/twinfleet/internal/mqtt"
	"github.com/twinfleet/twinfleet/internal/mqtt/framing"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/scenario/engine"
)

// liar is a proxy before a hub. It swallows some of the reports of devices, and answers them itself.
type liar struct {
	hub     *hub.Hub
	swallow func(n int) bool // the n-th report of a device, counted from 1
	raise   int64            // a swallowed report is answered with the last $version and so much more
	hide    bool             // later answers of the hub are raised by what was swallowed
	running sync.WaitGroup

	mu      sync.Mutex // protects the following fields
	devices map[string]*lied
	conns   map[net.Conn]bool
	lies    int
}

// lied is what the liar knows of a device.
type lied struct {
	reports int
	last    int64 // $version that the device was told
	hidden  int64
}

func newLiar(t *testing.T, h *hub.Hub, swallow func(n int) bool, raise int64, hide bool) *liar {
	t.Helper()
	p := &liar{hub: h, swallow: swallow, raise: raise, hide: hide, devices: make(map[string]*lied), conns: make(map[net.Conn]bool)}
	t.Cleanup(func() {
		p.mu.Lock()
		for nc := range p.conns {
			nc.Close()
		}
		p.mu.Unlock()
		p.running.Wait()
	})
	return p
}

// dial is a connection to the hub by way of the liar.
func (p *liar) dial(ctx context.Context) (net.Conn, error) {
	far, err := p.hub.Dial(ctx)
	if err != nil {
		return nil, err
	}
	client, near := memnet.Pipe()
	p.mu.Lock()
	p.conns[near], p.conns[far] = true, true
	p.mu.Unlock()
	p.running.Go(func() { p.pass(near, far) })
	return client, nil
}

// pass carries one connection: HTTP as it is, MQTT packet by packet.
func (p *liar) pass(near, far net.Conn) {
	defer near.Close()
	defer far.Close()
	in := bufio.NewReader(near)
	first, err := in.Peek(1)
	if err != nil {
		return
	}
	var back sync.WaitGroup
	defer back.Wait()
	defer far.Close()
	if first[0] != 0x10 {
		back.Go(func() { _, _ = io.Copy(near, far); near.Close() })
		_, _ = io.Copy(far, in)
		return
	}
	var writing sync.Mutex // of near
	write := func(b []byte) {
		writing.Lock()
		defer writing.Unlock()
		_, _ = near.Write(b)
	}
	device, started := "", make(chan struct{})
	back.Go(func() {
		defer near.Close()
		<-started
		p.each(far, func(packet mqtt.Packet) { write(p.answer(device, packet)) })
	})
	p.each(in, func(packet mqtt.Packet) {
		if packet.Type == mqtt.CONNECT {
			var c mqtt.Connect
			if mqtt.DecodeConnect(packet.Body, &c) == nil {
				device = string(c.ClientID)
			}
			close(started)
		}
		if lie := p.lie(device, packet); lie != nil {
			write(lie)
			return
		}
		_, _ = far.Write(raw(packet))
	})
}

func (p *liar) each(r io.Reader, do func(mqtt.Packet)) {
	reader := framing.NewReader(r)
	for {
		packet, err := reader.Next()
		if err != nil {
			return
		}
		do(packet)
	}
}

func raw(p mqtt.Packet) []byte {
	return append(mqtt.AppendHeader(nil, p.Type, p.Flags, len(p.Body)), p.Body...)
}

// state is a device's; the caller holds the lock.
func (p *liar) state(device string) *lied {
	if p.devices[device] == nil {
		p.devices[device] = &lied{last: 1}
	}
	return p.devices[device]
}

// lie is the answer to a report that is swallowed; nil for what goes to the hub.
func (p *liar) lie(device string, packet mqtt.Packet) []byte {
	var m mqtt.Publish
	if packet.Type != mqtt.PUBLISH || mqtt.DecodePublish(packet, &m) != nil {
		return nil
	}
	topic, err := topics.Parse(string(m.Topic))
	if err != nil || topic.Kind != topics.KindReport {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	d := p.state(device)
	d.reports++
	if !p.swallow(d.reports) {
		return nil
	}
	p.lies++
	d.last += p.raise
	d.hidden++
	return mqtt.AppendPublish(nil, topics.ReportAccepted(topic.RequestID, d.last), nil, 0, false, false, 0)
}

// answer is what the device gets of the hub's answer.
func (p *liar) answer(device string, packet mqtt.Packet) []byte {
	var m mqtt.Publish
	if packet.Type != mqtt.PUBLISH || mqtt.DecodePublish(packet, &m) != nil {
		return raw(packet)
	}
	topic, err := topics.Parse(string(m.Topic))
	if err != nil || topic.Kind != topics.KindTwinResponse || topic.Version == 0 {
		return raw(packet)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	d := p.state(device)
	d.last = topic.Version
	if p.hide {
		d.last += d.hidden
	}
	return mqtt.AppendPublish(nil, topics.ReportAccepted(topic.RequestID, d.last), m.Payload, 0, false, false, 0)
}

const honest = `
name: honest
seed: 5
fleet:
  groups: [{name: robots, count: 20, reported: {connectivity: {type: {cellular: 1, wifi: 1}}, every: 250ms}}]
stages:
  - {name: ramp, duration: 500ms, devices: 20}
  - {name: hold, duration: 1s}
  - {name: more, duration: 1s}
  - {name: last, duration: 1s}
`

// audited audits three of the twenty devices.
const audited = `
service: {freshness: {sample: 3, probe: 200ms, settle: 500ms}}
`

// A target that swallows reports and acknowledges them fails the run, whatever it answers and whichever devices
// the audit watches; without an audit when its answers give it away.
func TestSwallowedReportsFailTheRun(t *testing.T) {
	t.Parallel()
	third := func(n int) bool { return n%3 == 0 }
	never := func(int) bool { return false }
	first := func(n int) bool { return n == 2 }
	for _, tt := range []struct {
		name    string
		text    string
		swallow func(n int) bool
		raise   int64
		hide    bool
		want    string // of the reason; "" passes
	}{
		{"an honest proxy", honest + audited, never, 0, false, ""},
		{"the next version, audited", honest + audited, third, 1, false, "was acknowledged a second time"},
		{"the next version", honest, third, 1, false, "was acknowledged a second time"},
		{"the last version", honest, third, 0, false, "was acknowledged a second time"},
		{"a version far ahead", honest, third, 7, false, "than the device's own reports make it"},
		{"a consistent lie", honest + audited, third, 1, true, "an acknowledged report is missing in the twin"},
		{"one report a device", honest + audited, first, 1, true, "an acknowledged report is missing in the twin"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h, set := openHub(t, hub.Options{})
				p := newLiar(t, h, tt.swallow, tt.raise, tt.hide)
				run := atHub(decode(t, tt.text, set...), newWatcher(), p.dial).Run(t.Context())
				p.mu.Lock()
				lies := p.lies
				p.mu.Unlock()
				if tt.want == "" {
					if v := run.Freshness.Verified; run.Outcome != report.Passed || v.Held != 20 || v.Reports < 100 || v.Missing != 0 {
						t.Errorf("the run %s: %s; verified %+v; want all of 20", run.Outcome, run.Reason, v)
					}
					return
				}
				if run.Outcome != report.Failed || !strings.Contains(run.Reason, tt.want) {
					t.Errorf("the run %s: %s; want it failed with %q", run.Outcome, run.Reason, tt.want)
				}
				if strings.Contains(tt.text, audited) {
					if v := run.Freshness.Verified; v.Devices != 20 || v.Missing < int64(lies)*9/10 || v.Missing > int64(lies) {
						t.Errorf("verified %+v; want %d missing", v, lies)
					}
				}
			})
		})
	}
}

// A hub whose data is put back in mid run fails it, at the latest when a device tells what it had before.
func TestPutBackHubFailsTheRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		data, saved := t.TempDir(), filepath.Join(t.TempDir(), "saved")
		place := openPlace(t, data)
		restart := func(between func() error) {
			place.close()
			if err := between(); err != nil {
				t.Error(err)
			}
			place.open()
		}
		watch := func(e report.Event) {
			switch {
			case e.Kind == report.KindStage && e.Text == "hold":
				restart(func() error { return os.CopyFS(saved, os.DirFS(data)) })
			case e.Kind == report.KindStage && e.Text == "last":
				restart(func() error {
					return errors.Join(os.RemoveAll(data), os.CopyFS(data, os.DirFS(saved)))
				})
			}
		}
		s := decode(t, honest, hubAt(place.hub)...)
		run := engine.New(engine.InMemory(engine.Sampled(engine.Options{
			Scenario: s, Recorder: punctual(),
			Observers: []report.Observer{report.Funcs{OnEvent: watch}},
		}, calm()), place.dial)).Run(t.Context())
		if run.Outcome != report.Failed || !strings.Contains(run.Reason, "fell") {
			t.Errorf("the run %s: %s; want it failed for versions that fell", run.Outcome, run.Reason)
		}
	})
}

// Rows that are further behind than the tolerance fail a run, unless a threshold says how many may be.
func TestWrongRowsFailTheRun(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		set  []string
		want report.Outcome
	}{
		{"behind what is allowed", []string{"service.freshness.tolerance=0s"}, report.Failed},
		{"judged by a threshold", []string{
			"service.freshness.tolerance=0s",
			`thresholds={"query{name=all}": ["correct_rate > 0%"], "query{name=cellular}": ["correct_rate >= 0%"]}`,
		}, report.Passed},
		{"judged for another query", []string{"service.freshness.tolerance=0s", `thresholds={"query{name=cellular}": ["correct_rate >= 0%"]}`}, report.Failed},
		{"as far behind as the hub was told to be", nil, report.Passed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				text := fmt.Sprintf(lagging, "400ms", "4s", "{probe: 250ms}")
				run := newEngine(decode(t, text, append([]string{"fleet.groups.robots.reported.every=2s"}, tt.set...)...), newWatcher()).Run(t.Context())
				if run.Outcome != tt.want || tt.want == report.Failed && !strings.Contains(run.Reason, "rows of query all are wrong") {
					b, _ := json.Marshal(run.Totals.Queries)
					t.Errorf("the run %s: %s; want it %s; %s", run.Outcome, run.Reason, tt.want, b)
				}
			})
		})
	}
}

// A lower quality of service than was asked for does not fail a run, and is noted once for each group, however many agents have met it.
func TestLoweredQoSIsNoted(t *testing.T) {
	a := fleet.Contradiction{Device: "a-0", Kind: fleet.LoweredQoS, Detail: "a: QoS 0 where QoS 1 was asked for"}
	b := fleet.Contradiction{Device: "b-0", Kind: fleet.LoweredQoS, Detail: "b: QoS 1 where QoS 2 was asked for"}
	notes, err := engine.NotesOf(a, b, a)
	if len(notes) != 2 || !strings.Contains(notes[0], a.Detail) || !strings.Contains(notes[1], b.Detail) || err != nil {
		t.Errorf("%q, %v", notes, err)
	}
}
