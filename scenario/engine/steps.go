package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/internal/report"
	"github.com/twinfleet/twinfleet/internal/worker"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/scenario"
)

// ErrStep is the class of errors of steps that did not end as expected.
var ErrStep = errors.New("a step did not end as expected")

// again is how often a step that waits for something looks.
const again = 50 * time.Millisecond

// runSteps carries out the steps of a stage in order; the first that does not end as expected ends it.
func (e *Engine) runSteps(ctx context.Context, t *scenario.Stage) error {
	for i := range t.Steps {
		began := time.Now()
		text, detail, err := e.step(ctx, &t.Steps[i])
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			detail = err.Error()
		}
		row := report.Step{Stage: t.Name, Text: text, Detail: detail, OK: err == nil, Took: time.Since(began)}
		e.record.write(func(r *report.Run) { r.Steps = append(r.Steps, row) })
		e.emit(Event{Kind: EventStep, Stage: t.Name, Text: text, Detail: detail, OK: err == nil})
		if err != nil {
			return fmt.Errorf("%s: %w", text, err)
		}
	}
	return nil
}

// step carries out one step: what it did, what came back.
func (e *Engine) step(ctx context.Context, x *scenario.Step) (text, detail string, err error) {
	switch {
	case x.Statistics != nil:
		return e.stepStatistics(ctx, x.Statistics)
	case x.Tag != nil:
		g := e.sc.Group(x.Tag.Group)
		err := e.tag(ctx, g, x.Tag.Tags)
		return "tag " + devices(g.Count) + " of " + g.Name, string(x.Tag.Tags), err
	case x.Query != nil:
		return e.stepQuery(ctx, x.Query)
	case x.Desired != nil:
		return e.stepDesired(ctx, x.Desired)
	default:
		return e.stepAwait(ctx, x.Await)
	}
}

func devices(n int) string { return report.Number(n, "device") }

func (e *Engine) stepStatistics(ctx context.Context, x *scenario.StatisticsStep) (text, detail string, err error) {
	s, err := worker.Measure(ctx, e.rec.Series(metrics.OpStatistics, ""), time.Now(), func(ctx context.Context) (s stats, err error) {
		got, err := e.target.service.Statistics(ctx)
		return stats{got.Total, got.Enabled, got.Disabled}, err
	})
	if err == nil && x.Expect >= 0 && s.total != x.Expect {
		err = fmt.Errorf("%w: %d identities; expected %d", ErrStep, s.total, x.Expect)
	}
	return "registry statistics", fmt.Sprintf("total %d, enabled %d, disabled %d", s.total, s.enabled, s.disabled), err
}

type stats struct{ total, enabled, disabled int }

func (e *Engine) stepQuery(ctx context.Context, x *scenario.QueryStep) (text, detail string, err error) {
	q := worker.Query{Name: x.Name, SQL: x.SQL, PageSize: 100}
	if x.Name != "" {
		q.SQL = e.sc.Query(x.Name).SQL
	} else {
		q.Name = "step"
	}
	runner := &worker.QueryRunner{Service: e.target, Recorder: e.rec, KeepItems: true}
	series := e.rec.Series(metrics.OpQuery, q.Name)
	deadline := time.Now().Add(x.Within)
	for {
		result := runner.Once(ctx, &q, series, time.Now())
		if result.Err != nil {
			return q.SQL, "", result.Err
		}
		detail = fmt.Sprintf("%d found%s", result.Count, names(result.Items))
		if x.Expect < 0 || result.Count == x.Expect {
			return q.SQL, detail, nil
		}
		if !time.Now().Before(deadline) {
			return q.SQL, detail, fmt.Errorf("%w: %s; expected %d", ErrStep, detail, x.Expect)
		}
		if err := worker.Pause(ctx, again); err != nil {
			return q.SQL, detail, err
		}
	}
}

// names lists the device ids of a small result.
func names(items []json.RawMessage) string {
	if len(items) == 0 || len(items) > 3 {
		return ""
	}
	var ids []string
	for _, item := range items {
		var row struct {
			DeviceID string `json:"deviceId"`
		}
		if json.Unmarshal(item, &row) == nil && row.DeviceID != "" {
			ids = append(ids, row.DeviceID)
		}
	}
	if len(ids) == 0 {
		return ""
	}
	return ": " + strings.Join(ids, ", ")
}

// desiredWatch counts desired properties that reach devices, for the step that waits for them.
type desiredWatch struct {
	mu       sync.Mutex // protects the following fields
	seen     map[int]fleet.DesiredUpdate
	complete int
	partial  int
}

func (w *desiredWatch) arrived(u fleet.DesiredUpdate) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.seen == nil {
		w.seen = make(map[int]fleet.DesiredUpdate)
	}
	if before, ok := w.seen[u.Index]; !ok || before.Version <= u.Version { // a change may be told of after the whole that holds it
		w.seen[u.Index] = u
	}
	if u.Complete {
		w.complete++
	} else {
		w.partial++
	}
}

// stepDesired writes desired properties on the twins of a group. With a time it waits until every
// connected device of the group was told, and says whether the update was complete or partial.
func (e *Engine) stepDesired(ctx context.Context, x *scenario.DesiredStep) (text, detail string, err error) {
	g := e.sc.Group(x.Group)
	text = fmt.Sprintf("desired properties of %s: %s", devices(g.Count), x.Properties)
	patch, err := json.Marshal(map[string]any{"properties": map[string]any{"desired": x.Properties}})
	if err != nil {
		return text, "", err
	}
	versions, err := e.patchDesired(ctx, g, patch)
	if err != nil {
		return text, "", err
	}
	if x.Within == 0 {
		return text, fmt.Sprintf("written to %s", devices(len(versions))), nil
	}
	deadline := time.Now().Add(x.Within)
	for {
		missing, told := e.desired.missing(versions)
		if missing == 0 {
			return text, told, nil
		}
		if !time.Now().Before(deadline) {
			return text, told, fmt.Errorf("%w: %s were not told within %s", ErrStep, devices(missing), x.Within)
		}
		if err := worker.Pause(ctx, again); err != nil {
			return text, told, err
		}
	}
}

// patchDesired writes to every twin of a group and returns the new versions by device index.
func (e *Engine) patchDesired(ctx context.Context, g *scenario.Group, patch []byte) (map[int]int64, error) {
	versions := make(map[int]int64, g.Count)
	series := e.rec.Series(metrics.OpDesiredPatch, g.Name)
	first := e.firstOf(g)
	for i, id := range e.groupIDs(g) {
		doc, err := worker.Measure(ctx, series, time.Now(), func(ctx context.Context) (json.RawMessage, error) {
			return e.target.service.PatchTwin(ctx, id, patch, "")
		})
		if err != nil {
			return nil, err
		}
		if versions[first+i], err = worker.DesiredVersion(doc); err != nil {
			return nil, fmt.Errorf("device %s: %w", id, err)
		}
	}
	return versions, nil
}

// missing is how many devices have not been told of the versions, and what those that were told saw.
func (w *desiredWatch) missing(versions map[int]int64) (n int, told string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var one fleet.DesiredUpdate
	for index, version := range versions {
		u, ok := w.seen[index]
		if !ok || u.Version < version {
			n++
			continue
		}
		one = u
	}
	if one.Device == "" {
		return n, ""
	}
	return n, fmt.Sprintf("%s was told of %s: %s", one.Device, kindOf(one), one.JSON)
}

func kindOf(u fleet.DesiredUpdate) string {
	if u.Complete {
		return "the complete properties"
	}
	return "a partial update"
}

// stepAwait waits for connected devices and acknowledged reports.
func (e *Engine) stepAwait(ctx context.Context, x *scenario.AwaitStep) (text, detail string, err error) {
	var wants []string
	if x.Connected >= 0 {
		wants = append(wants, fmt.Sprintf("%d connected", x.Connected))
	}
	if x.Reported >= 0 {
		wants = append(wants, fmt.Sprintf("%d reported", x.Reported))
	}
	text = "wait for " + strings.Join(wants, ", ")
	deadline := time.Now().Add(x.Within)
	for {
		connected := e.fleet.Counts()[fleet.StateConnected]
		reported, last := e.reported()
		detail = fmt.Sprintf("%d connected, %d reported%s", connected, reported, last)
		if (x.Connected < 0 || connected == x.Connected) && (x.Reported < 0 || reported >= x.Reported) {
			return text, detail + e.desired.summary(), nil
		}
		if !time.Now().Before(deadline) {
			return text, detail, fmt.Errorf("%w: %s after %s", ErrStep, detail, x.Within)
		}
		if err := worker.Pause(ctx, again); err != nil {
			return text, detail, err
		}
	}
}

// reported counts the devices with an acknowledged report; of a single one it says what it reported.
func (e *Engine) reported() (n int, last string) {
	for i := range e.fleet.Len() {
		if r, ok := e.fleet.Reported(i); ok {
			n++
			last = r.Connectivity
		}
	}
	if n != 1 {
		return n, ""
	}
	return n, " (" + last + ")"
}

// summary says what devices were told at connecting.
func (w *desiredWatch) summary() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.seen) != 1 {
		return ""
	}
	for _, u := range w.seen {
		return fmt.Sprintf("; %s was told of %s: %s", u.Device, kindOf(u), u.JSON)
	}
	return ""
}
