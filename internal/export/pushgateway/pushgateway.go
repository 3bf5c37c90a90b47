// Package pushgateway pushes metrics to Prometheus' Pushgateway.
package pushgateway

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/push"
	dto "github.com/prometheus/client_model/go"

	"github.com/twinfleet/twinfleet/internal/export/endpoint"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/prom"
)

// Sink replaces the run's group at every push. It never deletes the group: a Pushgateway is for what
// must outlive the run, and when it has been read is for its owner to say.
type Sink struct {
	url    string
	from   prometheus.Gatherer
	client *http.Client
}

// New makes the sink of a recorder.
func New(rec *metrics.Recorder, e endpoint.Endpoint) (*Sink, error) {
	if strings.Contains(e.URL, "?") {
		return nil, errors.New("the URL has a query; the path of a push comes behind the URL, so write http://host:port or https://host:port with a path")
	}
	return &Sink{url: e.URL, from: prom.Registry(rec), client: e.Client()}, nil
}

// Push sends the figures of now.
func (p *Sink) Push(ctx context.Context, l metrics.RunLabels) error {
	// The group's labels become those of every series; the library refuses series that have them already.
	group := map[string]string{"scenario": l.Scenario, "run": l.Run, "instance": l.Run}
	return push.New(p.url, endpoint.Job).Client(p.client).Gatherer(without{p.from, group}).
		Grouping("scenario", l.Scenario).Grouping("run", l.Run).Grouping("instance", l.Run).
		PushContext(ctx)
}

// Close tells the place that no more will come.
func (p *Sink) Close(context.Context, metrics.RunLabels) error {
	p.client.CloseIdleConnections()
	return nil
}

// without leaves out labels that are in the group.
type without struct {
	prometheus.Gatherer
	group map[string]string
}

func (w without) Gather() ([]*dto.MetricFamily, error) {
	families, err := w.Gatherer.Gather()
	for _, f := range families {
		for _, m := range f.Metric {
			kept := m.Label[:0:0]
			for _, l := range m.Label {
				if w.group[l.GetName()] != l.GetValue() {
					kept = append(kept, l)
				}
			}
			m.Label = kept
		}
	}
	return families, err
}
