package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/internal/backend/registrar"
	"github.com/twinfleet/twinfleet/internal/generator"
	"github.com/twinfleet/twinfleet/internal/iothub/connstring"
	"github.com/twinfleet/twinfleet/internal/iothub/jobs"
	"github.com/twinfleet/twinfleet/internal/iothub/methods"
	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/iothub/service"
	"github.com/twinfleet/twinfleet/internal/iothub/topics"
	"github.com/twinfleet/twinfleet/internal/target"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/judge"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/plan"
)

// instant is a target in memory that does everything at once: a hub with its service side, or a broker. It works in
// virtual time.
type instant struct {
	mu       sync.Mutex // protects the following fields
	open     map[string]*instantConn
	versions map[string]int64 // of desired properties
	reported map[string]int64 // likewise
	ids      []string
}

type instantConn struct {
	hub     *instant
	options link.Options
	filters []link.Filter
	closed  bool
	over    func(error)
}

func newInstant(ids []string) *instant {
	return &instant{open: make(map[string]*instantConn), versions: make(map[string]int64), reported: make(map[string]int64), ids: ids}
}

func (h *instant) Connect(_ context.Context, o link.Options) (link.Conn, error) {
	c := &instantConn{hub: h, options: o}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.open[o.ClientID] = c
	return c, nil
}

func (c *instantConn) Serve(over func(error)) { c.over = over }

func (c *instantConn) Subscribe(done func(error), filters ...link.Filter) {
	c.hub.mu.Lock()
	c.filters = filters
	c.hub.mu.Unlock()
	done(nil)
}

func (c *instantConn) Close() { c.Abort() }

func (c *instantConn) Abort() {
	c.hub.mu.Lock()
	ended := c.closed
	c.leave()
	c.hub.mu.Unlock()
	if !ended {
		c.over(nil)
	}
}

// leave ends the connection. The caller holds the hub's lock.
func (c *instantConn) leave() {
	c.closed = true
	if c.hub.open[c.options.ClientID] == c {
		delete(c.hub.open, c.options.ClientID)
	}
}

func (c *instantConn) Publish(m link.Message, done func(error)) {
	id := c.options.ClientID
	c.hub.mu.Lock()
	if c.closed {
		c.hub.mu.Unlock()
		done(link.ErrLost)
		return
	}
	var answer link.Message
	var takers []*instantConn
	topic, err := topics.Parse(m.Topic)
	switch {
	case err == nil && topic.Kind == topics.KindTwinGet:
		answer = link.Message{Topic: topics.TwinResponse(200, topic.RequestID), Payload: fmt.Appendf(nil, `{"desired":{"$version":%d},"reported":{"$version":%d}}`,
			c.hub.versions[id]+1, c.hub.reported[id]+1)}
	case err == nil && topic.Kind == topics.KindReport:
		c.hub.reported[id]++
		answer = link.Message{Topic: topics.ReportAccepted(topic.RequestID, c.hub.reported[id]+1)}
	default:
		for _, o := range c.hub.open {
			for _, f := range o.filters {
				if f.Topic == m.Topic {
					takers = append(takers, o)
				}
			}
		}
	}
	c.hub.mu.Unlock()
	done(nil)
	if answer.Topic != "" {
		c.options.Handler(answer)
	}
	for _, o := range takers {
		o.options.Handler(m)
	}
}

// RoundTrip is the service side.
func (h *instant) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	body := new(bytes.Buffer)
	if r.Body != nil {
		_, _ = body.ReadFrom(r.Body)
	}
	h.serve(w, r, body.Bytes())
	return w.Result(), nil
}

func (h *instant) serve(w *httptest.ResponseRecorder, r *http.Request, body []byte) {
	answer := func(v any) { _ = json.NewEncoder(w).Encode(v) }
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case parts[0] == "statistics":
		answer(registry.Statistics{Total: len(h.ids)})
	case r.URL.Path == "/devices/query":
		rows := make([]map[string]string, len(h.ids))
		for i, id := range h.ids {
			rows[i] = map[string]string{"deviceId": id}
		}
		answer(rows)
	case r.URL.Path == "/devices":
		answer(registry.BulkResult{IsSuccessful: true})
	case parts[0] == "jobs":
		answer(jobs.Job{JobID: parts[2], Status: jobs.Completed})
	case parts[0] == "twins" && len(parts) == 3:
		answer(methods.Response{Status: 200})
	case parts[0] == "twins":
		answer(json.RawMessage(h.twin(parts[1], body)))
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// twin patches a twin, and tells its device of desired properties when it is there.
func (h *instant) twin(id string, patch []byte) string {
	var p struct {
		Properties struct {
			Desired map[string]json.RawMessage `json:"desired"`
		} `json:"properties"`
	}
	_ = json.Unmarshal(patch, &p)
	h.mu.Lock()
	c := h.open[id]
	if p.Properties.Desired != nil {
		h.versions[id]++
	}
	version := h.versions[id] + 1
	h.mu.Unlock()
	if c != nil && p.Properties.Desired != nil {
		p.Properties.Desired["$version"] = json.RawMessage(fmt.Sprint(version))
		body, _ := json.Marshal(p.Properties.Desired)
		c.options.Handler(link.Message{Topic: fmt.Sprintf("$iothub/twin/PATCH/properties/desired/?$version=%d", version), Payload: body})
	}
	return fmt.Sprintf(`{"deviceId":%q,"properties":{"desired":{"$version":%d},"reported":{"$version":2}}}`, id, version)
}

// idle is a generator with nothing to do.
type idle struct{}

func (idle) Sample(int, time.Duration) (generator.Sample, error) {
	return generator.Sample{Elapsed: time.Second, Cores: 2}, nil
}

// runVirtually runs a scenario on an instant target in virtual time and returns its figures.
func runVirtually(t *testing.T, sc *scenario.Scenario) (s *metrics.Snapshot) {
	synctest.Test(t, func(t *testing.T) {
		rec := metrics.NewRecorder(metrics.Options{})
		listed, err := target.NewIdentities(sc, nil)
		if err != nil {
			t.Fatal(err)
		}
		h := newInstant(listed.IDs)
		e := New(Options{Scenario: sc, Recorder: rec, sampler: idle{}, driver: h.over})
		if err := e.ledger.Begin(time.Now(), report.Run{}); err != nil {
			t.Fatal(err)
		}
		var client target.Service
		if sc.Target.Can().Service {
			c, err := connstring.ParseService("HostName=h;SharedAccessKeyName=o;SharedAccessKey=aHVzaA==")
			if err == nil {
				client, err = service.New(service.Options{ConnectionString: c, Transport: h})
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		aim := target.Bare(sc, client)
		ids, err := aim.Identities()
		if err != nil {
			t.Fatal(err)
		}
		r := &registrar.Registrar{Target: aim, Identities: ids, Recorder: rec, Ledger: &e.ledger}
		came := &outcome{bounds: judge.New(rec, nil)}
		if came.generator, err = e.watchGenerator(came.bounds); err != nil {
			t.Fatal(err)
		}
		if err := r.Provision(t.Context()); err != nil {
			t.Fatal(err)
		}
		c, err := newConductor(t.Context(), e, aim, r.Identities, came)
		if err == nil {
			err = c.load(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		s = rec.Snapshot()
	})
	return s
}

// planned is a scenario and its plan.
func planned(t *testing.T, text string, o scenario.Options) (*scenario.Scenario, *plan.Plan) {
	t.Helper()
	sc, err := scenario.Decode("planned.yaml", []byte(text), o)
	if err != nil {
		t.Fatal(err)
	}
	p, err := plan.Make(sc, plan.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return sc, p
}

// compare holds a plan against the figures of its run, operation by operation. What became due while a storm had cut a
// device off is counted when it is back: perhaps in another stage, which was paused or not.
func compare(p *plan.Plan, s *metrics.Snapshot, storms bool) (differ []string) {
	for _, op := range metrics.Operations() {
		var planned, paused float64
		if l := p.Find(op); l != nil {
			planned, paused = l.Total, l.Paused
		}
		var due, dropped uint64
		if x := s.Select(op, ""); x != nil {
			dropped = x.Dropped[metrics.DropPaused]
			due = x.Scheduled() - dropped
		}
		same := planned == float64(due) && paused == float64(dropped)
		if storms {
			same = planned+paused == float64(due+dropped)
		}
		if op == metrics.OpRecovery {
			continue // it follows from what the target does
		}
		if l := p.Find(op); op == metrics.OpDelivery && l != nil && l.Estimate {
			continue // what a rate asks for while nobody is connected is not delivered
		}
		if !same {
			differ = append(differ, fmt.Sprintf("%s: planned %g and %g in pauses, ran %d and %d", op, planned, paused, due, dropped))
		}
	}
	return differ
}

// Whatever a scenario asks for, the plan says how many operations of each kind become due, and in a run whose target
// answers at once so many do.
func TestPlanAndRunAgree(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		text := randomScenario(rt)
		sc, err := scenario.Decode("random.yaml", []byte(text), scenario.Options{Devices: rapid.SampledFrom([]int{0, 0, 3, 17}).Draw(rt, "another size")})
		if err != nil && strings.Contains(err.Error(), "the storm hits nobody") {
			rt.Skip()
		}
		if err != nil {
			rt.Fatalf("%v\n%s", err, text)
		}
		p, err := plan.Make(sc, plan.Options{})
		if err != nil {
			rt.Fatal(err)
		}
		if differ := compare(p, runVirtually(t, sc), strings.Contains(text, "storm:")); differ != nil {
			rt.Fatalf("%s\n%s", strings.Join(differ, "\n"), text)
		}
	})
}

// In a run of another length, too.
func TestPlanAndShortRunAgree(t *testing.T) {
	sc, p := planned(t, `
fleet:
  groups: [{name: a, count: 7, desired: {answer: false}, reported: {connectivity: {type: wifi}, every: 137ms}}, {name: b, count: 5, telemetry: {every: 211ms}, backoff: none}]
stages:
  - {name: come, devices: 100%, connect_rate: 2/s}
  - {name: storm, duration: 1m, report_rate: 3/s, storm: {drop: 50%, within: 20s}}
  - {name: leave, duration: 30s, devices: 25%, connect_rate: 1/s}
service:
  rollouts: [{name: r, group: a, properties: {v: 2}, at: 5s, rate: 9/s, waves: [{percent: 40, for: 30s}, {percent: 100}]}]
`, scenario.Options{Devices: 20, Duration: 9 * time.Second})
	if p.Seconds < 8.9 || p.Seconds > 9.1 {
		t.Errorf("the stages last %g s", p.Seconds)
	}
	for _, line := range compare(p, runVirtually(t, sc), true) {
		t.Error(line)
	}
}

// A storm cuts connections that devices share as a whole, in the plan as in the run.
func TestPlanAndRunAgreeOnSharedConnections(t *testing.T) {
	sc, p := planned(t, `
fleet:
  groups:
    - {name: a, count: 23, transport: amqp, devices_per_connection: 5, desired: {answer: false}, telemetry: {every: 211ms}, tokens: {life: 11s, margin: 2s, spread: 1s}}
    - {name: b, count: 9, transport: https, telemetry: {every: 307ms}, backoff: none}
    - {name: c, count: 8, transport: mqtt_ws, desired: {answer: false}, tokens: {life: 11s, margin: 2s, spread: 1s}}
stages:
  - {name: come, devices: 75%, duration: 3s}
  - {name: storm, duration: 20s137us, storm: {drop: 40%, within: 3s}}
  - {name: calm, duration: 10s137us}
  - {name: another, duration: 20s137us, storm: {drop: 70%, within: 0s, groups: [a, b]}}
`, scenario.Options{})
	if x := p.Find(metrics.OpRenew); x == nil || x.Total < 50 {
		t.Errorf("renewals that are planned: %+v", x)
	}
	for _, line := range compare(p, runVirtually(t, sc), true) {
		t.Error(line)
	}
}

// A device whose session should have ended while its connection was cut has no time that is counted twice.
func TestSessionEndsWhileGone(t *testing.T) {
	sc, p := planned(t, `
name: gone
fleet: {groups: [{name: a, count: 1, telemetry: {every: 300ms}, session: {online: 2s..9s, offline: exp(500ms)}, backoff: fixed}]}
stages:
  - {name: up, duration: 900ms137us, devices: 1}
  - {name: storm, duration: 10s137us, storm: {drop: 100%}}
`, scenario.Options{})
	if differ := compare(p, runVirtually(t, sc), true); len(differ) > 0 {
		t.Errorf("%s", differ)
	}
}

// randomScenario draws a scenario in which nothing but the schedule decides what becomes due: without faults, cron
// expressions, whose times depend on the date, expectations, and answers to desired properties, which only those give
// who are connected at that instant. Lengths and rates are odd, so that nothing is due in the very instant in which a stage
// ends or a device leaves.
func randomScenario(t *rapid.T) string {
	var b strings.Builder
	broker := rapid.IntRange(0, 3).Draw(t, "broker") == 0
	flip := func(what string) bool { return rapid.Bool().Draw(t, what) }
	number := func(what string, low, high int) int { return rapid.IntRange(low, high).Draw(t, what) }
	length := func(what string, low, high int) string { return fmt.Sprintf("%dms", number(what, low, high)) }
	gaps := func() string { return rapid.SampledFrom([]string{"", "", "~", "200ms.."}).Draw(t, "random gaps") }
	fmt.Fprintf(&b, "name: random\nseed: %d\n", number("seed", 1, 1000))
	if broker {
		b.WriteString("target: {hub: 'mqtt://b', topic: x}\n")
	}
	b.WriteString("fleet:\n  groups:\n")
	whole, storms, counts := 0, flip("storms"), []int(nil)
	names := []string{"a", "b", "c"}[:number("groups", 1, 3)]
	var hear []string // the groups that hear of what the service side says
	listeners := broker && len(names) > 1 && flip("listeners")
	for i, name := range names {
		n := number("count", 1, 20)
		whole, counts = whole+n, append(counts, n)
		fmt.Fprintf(&b, "    - {name: %s, count: %d", name, n)
		transport := "mqtt"
		if !broker {
			transport = rapid.SampledFrom([]string{"mqtt", "mqtt", "mqtt_ws", "amqp", "amqp_ws", "https"}).Draw(t, "transport")
			if i == 0 && transport == "https" {
				transport = "amqp" // the first one hears
			}
			fmt.Fprintf(&b, ", transport: %s", transport)
			if strings.HasPrefix(transport, "amqp") && !storms && flip("shared") { // who comes to a connection that is cut loses it, too
				fmt.Fprintf(&b, ", devices_per_connection: %d", number("devices per connection", 1, 7))
			}
		}
		deaf := transport == "https"
		if !deaf {
			hear = append(hear, name)
		}
		if !broker && !deaf && flip("reports") {
			b.WriteString(", reported: {connectivity: {type: {wifi: 1, cellular: 2}}")
			if flip("periodic") {
				fmt.Fprintf(&b, ", every: %s%s, sync: %t", gaps(), length("report every", 300, 9000), flip("report sync"))
			}
			b.WriteString("}")
		}
		if listeners && i > 0 {
			b.WriteString(", subscribe: {topics: [x]}")
		} else if flip("telemetry") {
			fmt.Fprintf(&b, ", telemetry: {every: %s%s, sync: %t", gaps(), length("telemetry every", 300, 9000), flip("telemetry sync"))
			if listeners && !storms {
				b.WriteString(", deliveries: 1")
			}
			b.WriteString("}")
		}
		if broker && !(listeners && i > 0) && flip("another kind") {
			fmt.Fprintf(&b, ", messages: [{name: alarms, every: %s%s, sync: %t", gaps(), length("alarms every", 300, 9000), flip("alarms sync"))
			if listeners && !storms {
				b.WriteString(", deliveries: 1")
			}
			b.WriteString("}]")
		}
		if flip("churn") {
			fmt.Fprintf(&b, ", session: {online: 2s..9s, offline: exp(%s)}", length("offline", 500, 5000))
		}
		if !broker && flip("tokens") {
			fmt.Fprintf(&b, ", tokens: {life: %ds, margin: %ds, spread: %ds}", number("life", 8, 30), number("margin", 1, 3), number("spread", 0, 3))
		}
		if !deaf {
			b.WriteString(", desired: {answer: false}")
		}
		fmt.Fprintf(&b, ", backoff: %s}\n", rapid.SampledFrom([]string{"exponential", "steep", "fixed", "none"}).Draw(t, "backoff"))
	}
	fmt.Fprintf(&b, "stages:\n")
	active := 0
	stages := number("stages", 1, 5)
	for i := range stages {
		d := number("duration", 300, 9_000)
		fmt.Fprintf(&b, "  - {name: s%d, duration: %dms%dns", i, d, 137_713)
		jumps := false
		if flip("by group") {
			active = -1 // as the seed has it
			fmt.Fprintf(&b, ", devices: {%s}", goalsOf(names, counts, number, flip))
		} else if flip("by a shape") && flip("really") {
			active, jumps = -1, true
			fmt.Fprintf(&b, ", devices: %s", shapeOf(d, whole, "", number, flip))
		} else if i == 0 || flip("changes") {
			before := active
			active = number("devices", 0, whole)
			text := fmt.Sprint(active)
			if flip("as a share") {
				percent := number("percent", 0, 100)
				active = max(min(1, percent), int(math.Round(float64(percent)/100*float64(whole))))
				text = fmt.Sprintf("%d%%", percent)
			}
			fmt.Fprintf(&b, ", devices: %s", text)
			if way := max(active-before, before-active); before >= 0 && way > 0 && flip("at a rate") {
				fmt.Fprintf(&b, ", connect_rate: %d.0137/s", way*1000/d+1+number("more", 0, 50))
			}
		}
		paused, rated := flip("paused") && flip("really"), false
		if paused {
			b.WriteString(", paused: true")
		}
		if !paused && strings.Contains(b.String(), "reported:") && flip("report rate") {
			rated = true
			rate := fmt.Sprintf("%d/s..%d/s", number("from", 0, 20), number("to", 1, 20))
			if flip("a shape") {
				rate = shapeOf(d, 20, "/s", number, flip)
			}
			fmt.Fprintf(&b, ", report_rate: %s", rate)
		}
		if !paused && strings.Contains(b.String(), "telemetry:") && flip("telemetry rate") {
			rated = true
			fmt.Fprintf(&b, ", telemetry_rate: %d/s", number("messages", 1, 30))
		}
		if rated && flip("at random") {
			b.WriteString(", arrivals: poisson")
		}
		if storms && !jumps && flip("storm") { // who is cut and leaves in one instant may be back before it has left
			fmt.Fprintf(&b, ", storm: {drop: %d%%, within: %s%s}", number("drop", 1, 100), length("within", 0, d), rapid.SampledFrom([]string{
				"", ", groups: [a]",
				", groups: [" + strings.Join(names, ", ") + "]",
			}).Draw(t, "of groups"))
		}
		if !broker && flip("steps") {
			fmt.Fprintf(&b, ", steps: [{statistics: {}}, {query: {sql: SELECT * FROM devices}}, {tag: {group: %[1]s, tags: {x: %d}}}, {desired: {group: %[1]s, "+
				"properties: {x: %[2]d}}}]", names[0], i)
		}
		b.WriteString("}\n")
	}
	if broker {
		return b.String()
	}
	randomService(t, &b, hear, stages, number, flip, length)
	return b.String()
}

// shapeOf is a shape, of values up to one, over so many milliseconds.
func shapeOf(d, most int, unit string, number func(string, int, int) int, flip func(string) bool) string {
	if flip("a sine") {
		mean := number("mean", 0, most)
		return fmt.Sprintf("{sine: {mean: %d%s, amplitude: %d%s, period: %dms, phase: %d%%}}", mean, unit, number("amplitude", 0, min(mean, most-mean)), unit,
			number("period", 1000, 20_000), number("phase", 0, 100))
	}
	points, at := []string{}, 0
	if unit == "" {
		at = number("first", 0, d)
	}
	for range number("points", 1, 5) {
		points = append(points, fmt.Sprintf("[%dms, %d%s]", at, number("value", 0, most), unit))
		at = min(d, at+number("gap", 0, d))
	}
	return "{points: [" + strings.Join(points, ", ") + "]}"
}

// goalsOf is numbers of devices of some groups.
func goalsOf(names []string, counts []int, number func(string, int, int) int, flip func(string) bool) string {
	var goals []string
	for i, name := range names {
		switch {
		case len(goals) > 0 && flip("as before"):
		case flip("as a share of the group"):
			goals = append(goals, fmt.Sprintf("%s: %d%%", name, number("percent", 0, 100)))
		default:
			goals = append(goals, fmt.Sprintf("%s: %d", name, number("devices", 0, counts[i])))
		}
	}
	return strings.Join(goals, ", ")
}

func randomService(t *rapid.T, b *strings.Builder, names []string, stages int, number func(string, int, int) int, flip func(string) bool, length func(string,
	int, int) string,
) {
	stage := func() string { return fmt.Sprintf("s%d", number("stage", 0, stages-1)) }
	group := func() string { return rapid.SampledFrom(names).Draw(t, "group") }
	fmt.Fprintf(b, "service:\n  tag_mode: %s\n", rapid.SampledFrom([]string{"patch", "bulk"}).Draw(t, "tag mode"))
	if flip("tags") {
		fmt.Fprintf(b, "  tags: {%s: {plant: x}}\n", group())
	}
	if flip("queries") {
		fmt.Fprintf(b, "  queries: [{name: q, every: %s, sql: SELECT * FROM devices}, {name: r, every: %s, stages: [%s], sql: SELECT * FROM devices}]\n",
			length("q", 500, 9000), length("r", 500, 9000), stage())
	}
	if flip("methods") {
		fmt.Fprintf(b, "  methods: [{name: m, group: %s, method: reboot, rate: %d/s..%d/s}, {name: n, group: %s, method: reboot, rate: 3/s, stages: [%s]}]\n",
			group(), number("from", 0, 9), number("to", 1, 9), group(), stage())
	}
	if flip("twin reads") {
		fmt.Fprintf(b, "  twin_reads: [{group: %s, rate: %d/m}]\n", group(), number("reads", 1, 400))
	}
	if flip("rollout") {
		fmt.Fprintf(b, "  rollouts: [{name: r, group: %s, properties: {v: 2}, stage: %s, at: %s, rate: %d/s, waves: [{percent: %d, for: %s}, {percent: 100}]}]\n",
			group(), stage(), length("at", 0, 3000), number("rate", 1, 20), number("percent", 1, 99), length("for", 100, 5000))
	}
	if flip("job") {
		fmt.Fprintf(b, "  jobs: [{name: j, type: twin, tags: {b: 1}, stage: %s, at: 100ms}]\n", stage())
	}
}
