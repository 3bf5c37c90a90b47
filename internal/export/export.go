// Package export pushes the Recorder's metrics to where nobody scrapes them: to a Pushgateway, to a receiver
// of Prometheus's remote write, or to one of OpenTelemetry's OTLP. The protocols are those of the client
// libraries; what is sent is what /metrics would have shown at that time.
package export

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/export/endpoint"
	"github.com/twinfleet/twinfleet/internal/export/otlp"
	"github.com/twinfleet/twinfleet/internal/export/pushgateway"
	"github.com/twinfleet/twinfleet/internal/export/remotewrite"
	"github.com/twinfleet/twinfleet/metrics"
)

// Options of an Exporter. Endpoints without a URL are left out.
type Options struct {
	Recorder *metrics.Recorder // required; until its run has a name nothing is pushed
	Every    time.Duration     // between two pushes; 5 s when 0
	Logger   *slog.Logger      // nil logs nothing

	Pushgateway, RemoteWrite, OTLP endpoint.Endpoint // where to push to; any of them may be left out
}

// sink is one place that metrics are pushed to.
type sink interface {
	// Push sends the figures of now.
	Push(ctx context.Context, l metrics.RunLabels) error
	// Close tells the place that no more will come.
	Close(ctx context.Context, l metrics.RunLabels) error
}

// Exporter pushes until it is closed. A push that fails is logged once, until the next one succeeds; it fails
// no run, and the next push brings all that it would have brought.
type Exporter struct {
	opts  Options
	stop  context.CancelFunc
	ended sync.WaitGroup
	sinks []*target
}

// target is a sink with what became of the pushes to it.
type target struct {
	sink
	name            string
	endpoint        endpoint.Endpoint
	pushes, failed  int
	failing, pushed bool
}

// Start begins to push to the endpoints. An endpoint that cannot be right is an error, one that does not
// answer is not. Start returns nil when there is no endpoint; a nil Exporter may be closed.
func Start(o Options) (*Exporter, error) {
	if o.Every <= 0 {
		o.Every = 5 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	e := &Exporter{opts: o}
	for _, kind := range []struct {
		name     string
		endpoint endpoint.Endpoint
		open     func(endpoint.Endpoint) (sink, error)
	}{
		{"pushgateway", o.Pushgateway, func(e endpoint.Endpoint) (sink, error) { return pushgateway.New(o.Recorder, e) }},
		{"prometheus-remote-write", o.RemoteWrite, func(e endpoint.Endpoint) (sink, error) { return remotewrite.New(o.Recorder, e) }},
		{"otlp", o.OTLP, func(e endpoint.Endpoint) (sink, error) { return otlp.New(o.Recorder, e) }},
	} {
		if kind.endpoint.URL == "" {
			continue
		}
		err := kind.endpoint.Check()
		var s sink
		if err == nil {
			s, err = kind.open(kind.endpoint)
		}
		if err != nil {
			return nil, fmt.Errorf("--%s: %w", kind.name, err)
		}
		e.sinks = append(e.sinks, &target{sink: s, name: kind.name, endpoint: kind.endpoint})
	}
	if len(e.sinks) == 0 {
		return nil, nil
	}
	ctx, stop := context.WithCancel(context.Background())
	e.stop = stop
	for _, t := range e.sinks {
		e.ended.Go(func() { e.loop(ctx, t) })
	}
	return e, nil
}

func (e *Exporter) loop(ctx context.Context, t *target) {
	tick := time.NewTicker(e.opts.Every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			e.push(ctx, t)
		case <-ctx.Done():
			return
		}
	}
}

// timeout is how long one push may take: a dead endpoint must not hold the end of a run for long.
const timeout = 5 * time.Second

func (e *Exporter) push(ctx context.Context, t *target) {
	l := e.opts.Recorder.Run()
	if l.Run == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	e.note(ctx, t, t.Push(ctx, l))
}

// note counts a push and logs the first failure of a row.
func (e *Exporter) note(ctx context.Context, t *target, err error) {
	if err != nil && errors.Is(context.Cause(ctx), context.Canceled) {
		return // closing cut it short; the last push follows
	}
	t.pushes++
	t.pushed = t.pushed || err == nil
	switch {
	case err == nil && t.failing:
		e.opts.Logger.Warn("metrics are pushed again", "to", t.name)
	case err != nil:
		t.failed++
		if !t.failing {
			e.opts.Logger.Warn("metrics could not be pushed; trying on", "to", t.name, "error", t.endpoint.Plain(err))
		}
	}
	t.failing = err != nil
}

// Close pushes a last time, unless ctx is over, and ends.
func (e *Exporter) Close(ctx context.Context) {
	if e == nil {
		return
	}
	e.stop()
	e.ended.Wait()
	var last sync.WaitGroup
	for _, t := range e.sinks {
		last.Go(func() { e.finish(ctx, t) })
	}
	last.Wait()
}

func (e *Exporter) finish(ctx context.Context, t *target) {
	if ctx.Err() == nil {
		e.push(ctx, t)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err := t.Close(ctx, e.opts.Recorder.Run()); err != nil && t.pushed && !t.failing {
		e.opts.Logger.Warn("the end of the metrics could not be pushed", "to", t.name, "error", t.endpoint.Plain(err))
	}
	if t.failed > 0 {
		e.opts.Logger.Warn("metrics were not pushed every time", "to", t.name, "failed", t.failed, "of", t.pushes)
	}
}
