// Package remotewrite pushes metrics by Prometheus' remote write 1.0.
package remotewrite

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/client_golang/exp/api/remote"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/twinfleet/twinfleet/internal/export/endpoint"
	"github.com/twinfleet/twinfleet/internal/export/writepb"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/prom"
)

// Sink sends what a scrape would have found, in version 1 of the protocol, which every receiver takes.
type Sink struct {
	from   prometheus.Gatherer
	api    *remote.API
	client *http.Client
	sent   map[string][]*writepb.Label // the series of the last push
}

// New makes the sink of a recorder.
func New(rec *metrics.Recorder, e endpoint.Endpoint) (*Sink, error) {
	u, err := url.Parse(e.URL)
	if err != nil {
		return nil, err
	}
	path := u.Path
	if strings.Trim(path, "/") == "" {
		path = "api/v1/write" // as a Prometheus has it
	}
	u.Path = ""
	client := e.Client()
	// No retries: the next push brings newer figures of the same series.
	api, err := remote.NewAPI(u.String(), remote.WithAPIHTTPClient(client), remote.WithAPIPath(path),
		remote.WithAPIBackoff(remote.BackoffConfig{Min: 100 * time.Millisecond, Max: time.Second, MaxRetries: 1}))
	if err != nil {
		return nil, err
	}
	return &Sink{from: prom.Registry(rec), api: api, client: client}, nil
}

// Push sends the figures of now.
func (r *Sink) Push(ctx context.Context, l metrics.RunLabels) error {
	families, err := r.from.Gather()
	if err != nil {
		return fmt.Errorf("gathering metrics: %w", err)
	}
	request := &writepb.WriteRequest{Timeseries: seriesOf(families, &writepb.Label{Name: "job", Value: endpoint.Job},
		&writepb.Label{Name: "instance", Value: l.Run})}
	now := make(map[string][]*writepb.Label, len(request.Timeseries))
	for _, s := range request.Timeseries {
		now[identity(s.Labels)] = s.Labels
	}
	request.Timeseries = append(request.Timeseries, ended(r.sent, now)...)
	if _, err := r.api.Write(ctx, remote.WriteV1MessageType, request); err != nil {
		return err
	}
	r.sent = now
	return nil
}

// ended marks series that are there no more, such as the stage before this one, as a scrape would: queries
// would otherwise see them beside their successors for five minutes.
func ended(before, now map[string][]*writepb.Label) []*writepb.TimeSeries {
	var all []*writepb.TimeSeries
	at := time.Now().UnixMilli()
	for id, labels := range before {
		if _, there := now[id]; !there {
			stale := &writepb.Sample{Value: math.Float64frombits(staleNaN), Timestamp: at}
			all = append(all, &writepb.TimeSeries{Labels: labels, Samples: []*writepb.Sample{stale}})
		}
	}
	return all
}

// staleNaN is the value that ends a series (remote write specification 1.0, stale markers).
const staleNaN = 0x7ff0000000000002

// identity tells series apart.
func identity(labels []*writepb.Label) string {
	var b strings.Builder
	for _, l := range labels {
		b.WriteString(l.Name + "\xff" + l.Value + "\xff")
	}
	return b.String()
}

// Close marks all series as ended, as when a scraped target has gone.
func (r *Sink) Close(ctx context.Context, _ metrics.RunLabels) error {
	defer r.client.CloseIdleConnections()
	if len(r.sent) == 0 || ctx.Err() != nil {
		return nil
	}
	time.Sleep(2 * time.Millisecond) // a series takes one value a millisecond
	_, err := r.api.Write(ctx, remote.WriteV1MessageType, &writepb.WriteRequest{Timeseries: ended(r.sent, nil)})
	return err
}
