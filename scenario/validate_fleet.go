package scenario

import (
	"fmt"
	"math"
	"time"

	"github.com/twinfleet/twinfleet/internal/schedule"
)

// validateShape holds what a stage says of the number of devices and of pauses. before is how many
// devices there are when it begins.
func (r *reader) validateShape(path string, t *Stage, before int) {
	if t.Paused && (t.ReportRate != nil || t.TelemetryRate != nil) {
		r.failAt(path+".paused", t.place, "a paused stage starts nothing; remove its rates, or paused")
	}
	if t.Paused && t.Duration == 0 && len(t.Steps) == 0 {
		r.failAt(path+".paused", t.place, "a pause needs a duration or steps")
	}
	c := t.ConnectRate
	if c == nil {
		return
	}
	path += ".connect_rate"
	switch {
	case t.Devices < 0:
		r.failAt(path, t.place, "a connect_rate needs devices: how many to go to")
	case c.From+c.To == 0:
		r.failAt(path, t.place, "a rate of 0 reaches nothing")
	case c.From != c.To && t.Duration == 0:
		r.failAt(path, t.place, "a rate that changes needs a duration")
	case t.Duration > 0:
		way := math.Abs(float64(t.Devices - before))
		reach := t.ConnectCurve(before).Integral(t.Duration)
		if reach < way-1e-6 {
			r.failAt(path, t.place, "only %.0f of %.0f devices come or go in %s; make the rate higher or the stage longer", reach, way, t.Duration)
		}
	}
}

// ConnectCurve is the rate, per second, at which devices come or go in a stage that begins with a
// number of devices. It is empty without a connect_rate.
func (t *Stage) ConnectCurve(before int) schedule.Curve {
	c := t.ConnectRate
	if c == nil || t.Devices < 0 {
		return nil
	}
	d := t.Duration
	if d == 0 {
		way := math.Abs(float64(t.Devices - before))
		d = time.Duration(math.Ceil(way/c.To*float64(time.Second))) + time.Millisecond // the last one must not be lost to rounding
	}
	return schedule.Curve{{Duration: d, From: c.From, To: c.To}}
}

// validateNetwork holds what a stage says of the network.
func (r *reader) validateNetwork(path string, t *Stage) {
	w := t.Network
	if w == nil {
		return
	}
	path += ".network"
	for i, name := range w.Groups {
		r.groupNames = append(r.groupNames, reference{fmt.Sprintf("%s.groups[%d]", path, i), name, t.place})
	}
	if w.Latency+w.Jitter == 0 && w.Loss+w.HalfOpen+w.Bandwidth == 0 && w.Partition == nil {
		r.failAt(path, t.place, "nothing is wrong with this network; give it latency, jitter, loss, bandwidth, half_open or a partition")
	}
	longest := t.Duration
	if longest > 0 && w.For > longest {
		r.failAt(path+".for", t.place, "%s is longer than the stage (%s)", w.For, longest)
	}
	if w.For > 0 {
		longest = w.For
	}
	if p := w.Partition; p != nil {
		if p.Share == 0 {
			r.failAt(path+".partition", t.place, "a partition needs a share, as in {share: 30%%, for: 20s}")
		}
		if longest > 0 && p.For > longest {
			r.failAt(path+".partition.for", t.place, "%s is longer than the network is bad (%s)", p.For, longest)
		}
	}
}
