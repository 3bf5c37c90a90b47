package automatic

import (
	"context"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub/jsonparse"
	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
	"github.com/twinfleet/twinfleet/internal/worker/call"
	"github.com/twinfleet/twinfleet/metrics"
)

// device is what is known of one device's desired properties.
type device struct {
	has     []bool // which of the leaves it holds; nil before it was told of anything
	version int64  // of the desired properties that it was last told of
	since   int64  // the version with which it held all, told after the configuration was sent; 0 while it does not

	answered        bool
	toldOp, replyOp metrics.Started // begun with the rollout
	under           bool            // whether they were
}

// holds reports whether the device holds all leaves.
func (d *device) holds() bool {
	if d.has == nil {
		return false
	}
	for _, has := range d.has {
		if !has {
			return false
		}
	}
	return true
}

// learn takes in what the device was told: all of its desired properties, or a change of them.
func (d *device) learn(leaves [][]string, values []jsonvalue.Value, said jsonvalue.Value, complete bool) {
	if d.has == nil || complete {
		d.has = make([]bool, len(leaves))
	}
	for i, path := range leaves {
		if v, named := find(said, path); named {
			d.has[i] = v.Equal(values[i])
		}
	}
}

// find looks a path up in a change; named says that the change decides what is there.
func find(said jsonvalue.Value, path []string) (v jsonvalue.Value, named bool) {
	v = said
	for _, name := range path {
		if v.Kind() != jsonvalue.Object {
			return jsonvalue.Value{}, true // something else stands where the path goes on, or null
		}
		if v = v.Get(name); !v.IsDefined() {
			return v, false
		}
	}
	return v, true
}

// end ends what the device is still waited for.
func (d *device) end(answers bool, how func(metrics.Started)) {
	if !d.under {
		return
	}
	if d.since == 0 {
		how(d.toldOp)
	}
	if answers && !d.answered {
		how(d.replyOp)
	}
}

// ending is how what devices are still waited for ends: out of time when the rollout was, in vain when the configuration
// was not made, else nobody waits any more.
func (r *Rollout) ending(ctx context.Context, made bool, missed error) func(metrics.Started) {
	now := time.Now()
	switch {
	case call.Context(ctx).Err() != nil || ctx.Err() != nil:
		return func(op metrics.Started) { op.Unanswered(now, call.RunEnded) }
	case !made:
		return func(op metrics.Started) { op.EndBecause(now, metrics.Failed, "the configuration was not made") }
	case missed != nil:
		return func(op metrics.Started) { op.End(now, metrics.Timeout) }
	default:
		return func(op metrics.Started) { op.Unanswered(now, "the rollout's last share was reached first") }
	}
}

// begin has devices count from now on. It is called for each try to make the configuration; the first counts.
func (r *Rollout) begin(intended, sent time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.began.IsZero() {
		return
	}
	r.began = sent
	for i := range r.devices {
		d := &r.devices[i]
		if d.holds() {
			r.result.Before++
		}
		d.under = true
		d.toldOp = r.told.Start(intended, sent)
		if r.answered != nil {
			d.replyOp = r.answered.Start(intended, sent)
		}
	}
}

// Told notes that a device, by its index in the fleet, was told of desired properties: of all of them when complete is
// set, else of a change.
func (r *Rollout) Told(index int, version int64, complete bool, text []byte, at time.Time) {
	i := index - r.First
	if i < 0 || i >= len(r.devices) {
		return
	}
	said, err := jsonparse.Parse(text)
	if err != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	d := &r.devices[i]
	if r.over || version < d.version || version == d.version && d.has != nil {
		return // it is older than what the device knows, or the same once more
	}
	d.version = version
	paths, values := r.expected()
	d.learn(paths, values, said, complete)
	if r.began.IsZero() || at.Before(r.began) || r.late(at) || d.since > 0 || !d.holds() {
		return
	}
	d.since = version
	r.result.Told++
	d.toldOp.End(at, metrics.OK)
	if !r.Answers {
		r.count(at)
	}
}

// expected is the leaves that a device must hold.
func (r *Rollout) expected() (paths [][]string, values []jsonvalue.Value) {
	for i := range r.leaves {
		paths, values = append(paths, r.leaves[i].Path), append(values, r.leaves[i].Value)
	}
	return paths, values
}

// Answered notes that a device's answer to a version of its desired properties was acknowledged.
func (r *Rollout) Answered(index int, version int64, at time.Time) {
	i := index - r.First
	if i < 0 || i >= len(r.devices) || !r.Answers {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	d := &r.devices[i]
	if r.over || d.since == 0 || version < d.since || d.answered || r.late(at) {
		return
	}
	d.answered = true
	r.result.Answered++
	d.replyOp.End(at, metrics.OK)
	r.count(at)
}

// late reports whether a time is not within that of the rollout, whoever comes first at its very end.
func (r *Rollout) late(at time.Time) bool { return !at.Before(r.began.Add(r.Timeout)) }

// count counts one more device, and the shares that it completes. The caller holds the lock.
func (r *Rollout) count(at time.Time) {
	r.have++
	for i := range r.result.Shares {
		s := &r.result.Shares[i]
		if !s.Reached && r.have >= r.needed(s.Percent) {
			s.Reached, s.Took = true, at.Sub(r.began)
		}
	}
	select {
	case r.news <- struct{}{}:
	default:
	}
}
