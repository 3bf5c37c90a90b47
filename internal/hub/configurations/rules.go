package configurations

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub/configuration"
	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
	"github.com/twinfleet/twinfleet/internal/iothub/timestamp"
	"github.com/twinfleet/twinfleet/internal/iothub/twin"
	"github.com/twinfleet/twinfleet/internal/iothub/twin/metadata"
)

// rules are what all configurations come to. They do not change, but for what they remember.
type rules struct {
	all      []*rule  // the stronger first
	outcomes sync.Map // by the places of the rules that match: *outcome
}

// rule is one configuration.
type rule struct {
	id     string
	target configuration.Target
	kind   configuration.Kind
	leaves []configuration.Leaf
	origin *metadata.Origin
}

// newRules reads configurations that were checked before.
func newRules(configs []*configuration.Configuration) (*rules, error) {
	slices.SortFunc(configs, func(a, b *configuration.Configuration) int {
		return cmp.Or(cmp.Compare(b.Priority, a.Priority), b.Created.Compare(a.Created.Time), cmp.Compare(a.ID, b.ID))
	})
	r := &rules{}
	for _, c := range configs {
		target, err := c.Target()
		if err != nil {
			return nil, fmt.Errorf("target condition of configuration %s: %w", c.ID, err)
		}
		content, err := c.Content.Parse()
		if err != nil {
			return nil, fmt.Errorf("content of configuration %s: %w", c.ID, err)
		}
		r.all = append(r.all, &rule{
			id: c.ID, target: target, kind: content.Kind, leaves: content.Leaves,
			origin: &metadata.Origin{ID: c.ID, Digest: timestamp.Digest(c.LastUpdated.Time)},
		})
	}
	return r, nil
}

// outcome is what a twin is due for which certain rules match.
type outcome struct {
	list   []twin.Configuration // in the order of the ids
	leaves []owned
}

// owned is a leaf and whose it is.
type owned struct {
	configuration.Leaf
	by *metadata.Origin
}

// outcome finds what a twin is due.
func (r *rules) outcome(t *twin.Twin) *outcome {
	key := make([]byte, 0, 64)
	for i, rule := range r.all {
		if rule.target.Matches(t) {
			key = append(key, byte(i>>8), byte(i))
		}
	}
	if known, ok := r.outcomes.Load(string(key)); ok {
		return known.(*outcome)
	}
	o := &outcome{}
	for i := 0; i < len(key); i += 2 {
		o.add(r.all[int(key[i])<<8|int(key[i+1])])
	}
	slices.SortFunc(o.list, func(a, b twin.Configuration) int { return cmp.Compare(a.ID, b.ID) })
	known, _ := r.outcomes.LoadOrStore(string(key), o)
	return known.(*outcome)
}

// add adds a rule that is weaker than all before: of its leaves those count that none of theirs rules out. A rule of
// which something counts is applied, others are targeted (iot-hub-automatic-device-management).
func (o *outcome) add(r *rule) {
	stronger := len(o.leaves)
	for _, leaf := range r.leaves {
		if !slices.ContainsFunc(o.leaves[:stronger], func(x owned) bool { return x.Overlaps(leaf) }) {
			o.leaves = append(o.leaves, owned{leaf, r.origin})
		}
	}
	status := twin.Targeted
	if len(o.leaves) > stronger {
		status = twin.Applied
	}
	o.list = append(o.list, twin.Configuration{ID: r.id, Status: status})
}

// write makes the twin that a twin is due; it is the same when it is due nothing. A leaf that a service wrote over is
// written again: the configuration says what it shall be. Content that the twin has no room for is not written, and its
// configurations stay targeted.
func (r *rules) write(t *twin.Twin, now time.Time) (*twin.Twin, jsonvalue.Value, error) {
	o := r.outcome(t)
	var due []configuration.Leaf
	var origins []owned
	for _, leaf := range o.leaves {
		if !t.Desired.Origin(leaf.Path...).Same(leaf.by) || !t.Desired.Value().Path(leaf.Path...).Equal(leaf.Value) {
			due = append(due, leaf.Leaf)
			origins = append(origins, leaf)
		}
	}
	if len(due) == 0 {
		return t.Configure(o.list, jsonvalue.Value{}, nil, now)
	}
	next, delta, err := t.Configure(o.list, configuration.Document(due), func(path []string) *metadata.Origin {
		for i := range origins {
			if slices.Equal(origins[i].Path, path) {
				return origins[i].by
			}
		}
		return nil
	}, now)
	if err != nil {
		return t.Configure(o.refused(t), jsonvalue.Value{}, nil, now)
	}
	return next, delta, nil
}

// refused is the list for a twin that cannot take its content: those of which it has nothing are targeted.
func (o *outcome) refused(t *twin.Twin) []twin.Configuration {
	list := slices.Clone(o.list)
	for i := range list {
		has := slices.ContainsFunc(o.leaves, func(l owned) bool {
			return l.by.ID == list[i].ID && t.Desired.Origin(l.Path...).Same(l.by)
		})
		if !has {
			list[i].Status = twin.Targeted
		}
	}
	return list
}
