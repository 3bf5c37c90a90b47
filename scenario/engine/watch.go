package engine

import (
	"net"
	"slices"
	"strings"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/internal/generator/watch"
	"github.com/twinfleet/twinfleet/metrics/judge"
	spec "github.com/twinfleet/twinfleet/scenario/target"
)

// watchGenerator begins to measure what makes the run. Of a stage that it did not deliver as asked the bounds can say nothing.
func (e *Engine) watchGenerator(bounds *judge.Judge) (*watch.Watch, error) {
	w, err := watch.New(watch.Options{
		Recorder: e.rec, Sampler: e.opts.sampler, Sources: len(e.sc.Fleet.SourceAddresses), Destinations: e.sc.Target.Destinations(),
		Loopback: onLoopback(&e.sc.Target), Shared: e.sc.Target.Can().InProcess, Preparing: e.opts.Preparing,
	})
	if err == nil && !e.allowsSaturated() {
		bounds.Doubt(e.doubt(w))
	}
	return w, err
}

// doubt says why nothing can be said of a stage, what happened first: nobody led it, agents did not do their part, and last what may follow from
// that, this process' own part.
func (e *Engine) doubt(w *watch.Watch) func(stage string) string {
	return func(stage string) string {
		why := []string{e.unled[stage]}
		if e.opts.Agents != nil {
			why = append(why, e.opts.Agents.Doubt(stage))
		}
		why = append(why, w.Doubt(stage))
		return strings.Join(slices.DeleteFunc(why, func(x string) bool { return x == "" }), "; ")
	}
}

// onLoopback reports whether the target is plainly on this machine.
func onLoopback(t *spec.Target) bool {
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

// connections are those that the fleet holds or opens here; in memory they take nothing of the machine's.
func (c *conductor) connections() int {
	if c.sc.Target.Transport == spec.Memory || c.opts.Agents != nil {
		return 0
	}
	counts := c.fleet.Counts()
	return c.sc.Connections(counts[fleet.StateConnected] + counts[fleet.StateConnecting])
}

// measured tells of a sample of the generator that could not be taken.
func (e *Engine) measured(err error) {
	if err != nil {
		e.log.Warn("the generator was not measured", "error", err)
	}
}
