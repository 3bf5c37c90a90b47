package export

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/push"
	dto "github.com/prometheus/client_model/go"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/prom"
)

// pushgateway replaces the run's group at every push. It never deletes the group: a Pushgateway is for what
// must outlive the run, and when it has been read is for its owner to say.
type pushgateway struct {
	url    string
	from   prometheus.Gatherer
	client *http.Client
}

func newPushgateway(o Options, e Endpoint) (sink, error) {
	if strings.Contains(e.URL, "?") {
		return nil, errors.New("the URL has a query; the path of a push comes behind the URL, so write http://host:port or https://host:port with a path")
	}
	return &pushgateway{url: e.URL, from: prom.Registry(o.Recorder), client: e.client()}, nil
}

func (p *pushgateway) push(ctx context.Context, l metrics.RunLabels) error {
	// The group's labels become those of every series; the library refuses series that have them already.
	group := map[string]string{"scenario": l.Scenario, "run": l.Run, "instance": l.Run}
	return push.New(p.url, job).Client(p.client).Gatherer(without{p.from, group}).
		Grouping("scenario", l.Scenario).Grouping("run", l.Run).Grouping("instance", l.Run).
		PushContext(ctx)
}

func (p *pushgateway) close(context.Context, metrics.RunLabels) error {
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
