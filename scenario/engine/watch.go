package engine

import (
	"net"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/internal/generator/watch"
	"github.com/twinfleet/twinfleet/scenario"
)

// watchGenerator begins to measure what makes the run.
func (e *Engine) watchGenerator() (*watch.Watch, error) {
	return watch.New(watch.Options{
		Recorder: e.rec, Sampler: e.opts.sampler, Sources: len(e.sc.Fleet.SourceAddresses),
		Loopback: onLoopback(&e.sc.Target), Shared: e.sc.Target.Can().InProcess,
	})
}

// onLoopback reports whether the target is plainly on this machine.
func onLoopback(t *scenario.Target) bool {
	x, err := t.Endpoint()
	if err != nil {
		return false
	}
	ip := net.ParseIP(x.Host)
	return x.Host == "localhost" || (ip != nil && ip.IsLoopback())
}

// allowsSaturated reports whether the run is judged although its load was not the one that was asked for.
func (e *Engine) allowsSaturated() bool {
	return e.opts.AllowSaturated || e.sc.Generator.AllowSaturated
}

// doubt says why nothing can be said of a stage so far; "" when something can.
func (e *Engine) doubt(stage string) string {
	if e.generator == nil || e.allowsSaturated() {
		return ""
	}
	return e.generator.Doubt(stage)
}

// connections are those that the fleet holds or opens.
func (e *Engine) connections() int {
	counts := e.fleet.Counts()
	return counts[fleet.StateConnected] + counts[fleet.StateConnecting]
}

// measured tells of a sample of the generator that could not be taken.
func (e *Engine) measured(err error) {
	if err != nil {
		e.log.Warn("the generator was not measured", "error", err)
	}
}
