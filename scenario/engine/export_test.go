package engine

import "github.com/twinfleet/twinfleet/internal/generator/watch"

// Sampled has a run measured by another than its own process: the machine that runs the tests may be busy.
func Sampled(o Options, s watch.Sampler) Options {
	o.sampler = s
	return o
}
