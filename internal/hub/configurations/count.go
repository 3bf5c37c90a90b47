package configurations

import (
	"context"
	"iter"

	"github.com/twinfleet/twinfleet/internal/iothub/configuration"
	"github.com/twinfleet/twinfleet/internal/iothub/query"
	"github.com/twinfleet/twinfleet/internal/iothub/query/plan"
	"github.com/twinfleet/twinfleet/internal/iothub/query/tree"
	"github.com/twinfleet/twinfleet/internal/iothub/twin"
)

// counts are the results of a configuration's metrics.
type counts struct {
	targeted, applied int64
	custom            map[string]int64
}

// metric is a custom metric that is being counted.
type metric struct {
	id, name string
	query    *query.Query
	n        int64
}

// matches reports whether a metric counts a twin.
func (m *metric) matches(t *twin.Twin) bool {
	return (m.query.From == tree.Modules) == (t.ModuleID != "") && m.query.Matches(t)
}

// checkEvery is how many twins pass between checks of the context.
const checkEvery = 1024

// count runs all metrics in one walk over the twins as queries see them, so that the counts lag as queries do. The
// indexes of queries are left to queries.
func (m *Manager) count(ctx context.Context) {
	m.mu.Lock()
	if !m.stale {
		m.mu.Unlock()
		return
	}
	m.stale = false
	found := make(map[string]*counts, len(m.configs))
	edge := make(map[string]bool)
	var metrics []*metric
	for id, c := range m.configs {
		found[id] = &counts{custom: make(map[string]int64)}
		edge[id] = len(c.Content.Modules) > 0
		for name, text := range c.Metrics.Queries {
			if q, err := configuration.ParseMetric(text); err == nil { // it was checked when it came
				metrics = append(metrics, &metric{id: id, name: name, query: q})
			}
		}
	}
	m.mu.Unlock()
	n := 0
	for t := range m.twins() {
		if n++; n%checkEvery == 0 && ctx.Err() != nil {
			return
		}
		for _, c := range t.Configurations {
			into := found[c.ID]
			if into == nil || edge[c.ID] && t.ModuleID != "" {
				continue
			}
			into.targeted++
			if c.Status == twin.Applied {
				into.applied++
			}
		}
		for _, metric := range metrics {
			if metric.matches(t) {
				metric.n++
			}
		}
	}
	for _, metric := range metrics {
		if top := int64(metric.query.Top); top > 0 {
			metric.n = min(metric.n, top)
		}
		found[metric.id].custom[metric.name] = metric.n
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, c := range found {
		if m.configs[id] != nil {
			m.counted[id] = *c
		}
	}
}

// twins walks through all twins as queries see them.
func (m *Manager) twins() iter.Seq[*twin.Twin] {
	return func(yield func(*twin.Twin) bool) {
		for _, source := range []plan.Source{m.opts.Store, m.opts.Store.Modules()} {
			for ord := range source.Max() {
				if t := source.At(ord); t != nil && !yield(t) {
					return
				}
			}
		}
	}
}
