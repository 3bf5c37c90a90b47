// Package steps is what the service side does once, when a step of a stage asks for it.
package steps

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/internal/backend/side"
	"github.com/twinfleet/twinfleet/internal/wait"
	"github.com/twinfleet/twinfleet/internal/worker/call"
	"github.com/twinfleet/twinfleet/internal/worker/delivery"
	"github.com/twinfleet/twinfleet/internal/worker/queries"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report/human"
	"github.com/twinfleet/twinfleet/scenario"
)

// ErrUnexpected is the class of errors of steps that did not end as expected.
var ErrUnexpected = errors.New("a step did not end as expected")

// pollEvery is how often a step that waits for something checks for it.
const pollEvery = 50 * time.Millisecond

// Steps carries steps out. Its fields are required.
type Steps struct {
	*side.Side
	// Tagging writes the tags of a group.
	Tagging func(ctx context.Context, g *scenario.Group, tags []byte) error

	told desiredWatch
}

// OnDesired notes that desired properties reached a device.
func (b *Steps) OnDesired(u fleet.DesiredUpdate) { b.told.arrived(u) }

func devicesText(n int) string { return human.Number(n, "device") }

// Tag writes tags on the twins of a group.
func (b *Steps) Tag(ctx context.Context, x *scenario.TagStep) (text, detail string, err error) {
	g := b.Scenario.Group(x.Group)
	return "tag " + devicesText(g.Count) + " of " + g.Name, string(x.Tags), b.Tagging(ctx, g, x.Tags)
}

// Told says what devices were told of desired properties, when it is one device.
func (b *Steps) Told() string { return b.told.summary() }

// Statistics reads the registry's, and holds the number of identities against what is expected.
func (b *Steps) Statistics(ctx context.Context, x *scenario.StatisticsStep) (text, detail string, err error) {
	s, err := call.Measure(ctx, b.Recorder.Series(metrics.OpStatistics, ""), time.Now(), func(ctx context.Context) (s stats, err error) {
		got, err := b.Target.Service.Statistics(ctx)
		return stats{got.Total, got.Enabled, got.Disabled}, err
	})
	if err == nil && x.Expect >= 0 && s.total != x.Expect {
		err = fmt.Errorf("%w: %d identities; expected %d", ErrUnexpected, s.total, x.Expect)
	}
	return "registry statistics", fmt.Sprintf("total %d, enabled %d, disabled %d", s.total, s.enabled, s.disabled), err
}

type stats struct{ total, enabled, disabled int }

// Query runs a query, repeatedly while its result is not the expected one and there is time.
func (b *Steps) Query(ctx context.Context, x *scenario.QueryStep) (text, detail string, err error) {
	q := queries.Query{Name: x.Name, SQL: x.SQL, PageSize: 100}
	if x.Name != "" {
		q.SQL = b.Scenario.Query(x.Name).SQL
	} else {
		q.Name = "step"
	}
	runner := &queries.Runner{Service: side.Querier(b.Target.Service), Recorder: b.Recorder, KeepItems: true}
	series := b.Recorder.Series(metrics.OpQuery, q.Name)
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
			return q.SQL, detail, fmt.Errorf("%w: %s; expected %d", ErrUnexpected, detail, x.Expect)
		}
		if err := wait.For(ctx, pollEvery); err != nil {
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

// Desired writes desired properties on the twins of a group. With a time it waits until every
// connected device of the group was told, and says whether the update was complete or partial.
func (b *Steps) Desired(ctx context.Context, x *scenario.DesiredStep) (text, detail string, err error) {
	g := b.Scenario.Group(x.Group)
	text = fmt.Sprintf("desired properties of %s: %s", devicesText(g.Count), x.Properties)
	patch, err := json.Marshal(map[string]any{"properties": map[string]any{"desired": x.Properties}})
	if err != nil {
		return text, "", err
	}
	versions, err := b.patchDesired(ctx, g, patch)
	if err != nil {
		return text, "", err
	}
	if x.Within == 0 {
		return text, fmt.Sprintf("written to %s", devicesText(len(versions))), nil
	}
	deadline := time.Now().Add(x.Within)
	for {
		missing, told := b.told.missing(versions)
		if missing == 0 {
			return text, told, nil
		}
		if !time.Now().Before(deadline) {
			return text, told, fmt.Errorf("%w: %s were not told within %s", ErrUnexpected, devicesText(missing), x.Within)
		}
		if err := wait.For(ctx, pollEvery); err != nil {
			return text, told, err
		}
	}
}

// patchDesired writes to every twin of a group and returns the new versions by device index.
func (b *Steps) patchDesired(ctx context.Context, g *scenario.Group, patch []byte) (map[int]int64, error) {
	versions := make(map[int]int64, g.Count)
	series := b.Recorder.Series(metrics.OpDesiredPatch, g.Name)
	first := b.Identities.First(g)
	for i, id := range b.Identities.Of(g) {
		doc, err := call.Measure(ctx, series, time.Now(), func(ctx context.Context) (json.RawMessage, error) {
			return b.Target.Service.PatchTwin(ctx, id, patch, "")
		})
		if err != nil {
			return nil, err
		}
		if versions[first+i], err = delivery.Version(doc); err != nil {
			return nil, fmt.Errorf("device %s: %w", id, err)
		}
	}
	return versions, nil
}
