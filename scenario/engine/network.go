package engine

import (
	"fmt"
	"strings"

	"github.com/twinfleet/twinfleet/report/human"
	"github.com/twinfleet/twinfleet/scenario"
)

// describeNetwork says what is wrong with a network, for people.
func describeNetwork(w *scenario.Network) string {
	var parts []string
	add := func(is bool, format string, a ...any) {
		if is {
			parts = append(parts, fmt.Sprintf(format, a...))
		}
	}
	add(w.Latency > 0, "latency %s", human.Duration(w.Latency))
	add(w.Jitter > 0, "jitter %s", human.Duration(w.Jitter))
	add(w.Loss > 0, "loss %.3g %%", w.Loss*100)
	add(w.Bandwidth > 0, "bandwidth %s bytes/s", human.Count(int64(w.Bandwidth)))
	add(w.HalfOpen > 0, "%.3g %% half open", w.HalfOpen*100)
	if p := w.Partition; p != nil {
		add(true, "%.3g %% cut off", p.Share*100)
		add(p.For > 0, "for %s", human.Duration(p.For))
	}
	add(w.For > 0, "in all for %s", human.Duration(w.For))
	return strings.Join(parts, ", ")
}
