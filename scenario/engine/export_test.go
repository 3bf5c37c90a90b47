package engine

import (
	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/internal/eventhub"
	"github.com/twinfleet/twinfleet/internal/generator/watch"
	"github.com/twinfleet/twinfleet/scenario/target"
)

// Sampled has a run measured by another than its own process: the machine that runs the tests may be busy.
func Sampled(o Options, s watch.Sampler) Options {
	o.sampler = s
	return o
}

// InMemory has the run reach no network, so that it can go on in virtual time: the embedded hub opens no port, and dial, which
// may be nil, reaches a hub elsewhere.
func InMemory(o Options, dial link.Dialer) Options {
	o.memory, o.dial = true, dial
	return o
}

// ReadBy has a run's messages read elsewhere than at its target, and its devices driven by a driver.
func ReadBy(o Options, reader func(eventhub.Options) (*eventhub.Reader, error), d link.Driver) Options {
	o.reader = reader
	if d != nil {
		o.driver = func(target.DeviceTransport) link.Driver { return d }
	}
	return o
}

// LastReports are the last acknowledged reports of all devices that have one, by device id.
func (e *Engine) LastReports() map[string]fleet.Report {
	last, n := make(map[string]fleet.Report), 0
	for i := range e.sc.Fleet.Groups {
		g := &e.sc.Fleet.Groups[i]
		for k := range g.Count {
			if r, ok := e.controls.fleet.Reported(n); ok {
				last[g.DeviceID(k)] = r
			}
			n++
		}
	}
	return last
}

// NotesOf are what a run notes of what devices were told, and what it fails with.
func NotesOf(told ...fleet.Contradiction) ([]string, error) {
	c := &conductor{Engine: new(Engine), outcome: new(outcome)}
	for _, x := range told {
		c.contradiction(x)
	}
	return c.ledger.Whole().Notes, c.contradictions.err()
}
