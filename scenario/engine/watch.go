package engine

import (
	"net"
	"strings"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/internal/generator/watch"
	"github.com/twinfleet/twinfleet/metrics/judge"
	"github.com/twinfleet/twinfleet/report"
	spec "github.com/twinfleet/twinfleet/scenario/target"
)

// watchGenerator begins to measure what makes the run. Of a stage that it did not deliver as asked the bounds can say nothing.
func (e *Engine) watchGenerator(bounds *judge.Judge) (*watch.Watch, error) {
	w, err := watch.New(watch.Options{
		Recorder: e.rec, Sampler: e.opts.sampler, Sources: len(e.sc.Fleet.SourceAddresses), Destinations: e.sc.Target.Destinations(),
		Loopback: onLoopback(&e.sc.Target), Shared: e.sc.Target.Can().InProcess, Preparing: e.opts.Preparing, Elsewhere: e.beside,
	})
	if err == nil && !e.allowsSaturated() {
		bounds.Doubt(w.Doubt)
	}
	return w, err
}

// beside says what kept the load of a stage back beside this process, what happened first: nobody led it, agents did not do their part.
func (e *Engine) beside(stage string) (all []report.Cause) {
	if why := e.unled[stage]; why != "" {
		all = append(all, report.Cause{Kind: report.CauseUnled, Text: why})
	}
	if e.opts.Agents == nil {
		return all
	}
	if why := e.opts.Agents.Doubt(stage); why != "" {
		// An agent says of which stage it speaks, and so does whoever reads this.
		all = append(all, report.Cause{Kind: report.CauseAgents, Text: strings.ReplaceAll(why, ": stage "+stage+": ", ": ")})
	}
	return all
}

// onLoopback reports whether the target is plainly on this machine.
func onLoopback(t *spec.Target) bool {
	host, err := t.Opened()
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
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
