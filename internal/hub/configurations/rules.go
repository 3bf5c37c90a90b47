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
	edge     bool     // whether one of them is a deployment of IoT Edge
	outcomes sync.Map // by the places of the rules that match: *outcome
}

// rule is one configuration.
type rule struct {
	id     string
	target configuration.Target
	kind   configuration.Kind
	leaves []configuration.Leaf
	origin *metadata.Origin

	modules map[string][]configuration.Leaf // of a deployment, by module id
	whole   map[string]bool                 // of a deployment: modules whose desired properties are all there may be
	base    bool                            // of a deployment: it holds a whole module, and rules out weaker deployments
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
		made := &rule{
			id: c.ID, target: target, kind: content.Kind, leaves: content.Leaves, whole: content.Whole,
			origin: &metadata.Origin{ID: c.ID, Digest: timestamp.Digest(c.LastUpdated.Time)},
		}
		if content.Kind == configuration.ForEdge {
			r.edge = true
			made.modules = make(map[string][]configuration.Leaf)
			for module, doc := range content.Modules {
				made.modules[module] = configuration.Leaves(doc)
				made.base = made.base || content.Whole[module]
			}
		}
		r.all = append(r.all, made)
	}
	return r, nil
}

// concerns reports whether a rule has to do with a twin; above is the device of a module.
func (r *rule) concerns(t, above *twin.Twin) bool {
	if r.kind != configuration.ForEdge || t.ModuleID == "" {
		return r.target.Matches(t)
	}
	_, named := r.modules[t.ModuleID]
	return named && above != nil && r.target.Matches(above)
}

// modulesOf is the modules that the deployments of a device ask for.
func (r *rules) modulesOf(t *twin.Twin) []string {
	var all []string
	for _, rule := range r.all {
		if rule.kind != configuration.ForEdge || !rule.target.Matches(t) {
			continue
		}
		for module := range rule.modules {
			if !slices.Contains(all, module) {
				all = append(all, module)
			}
		}
		if rule.base {
			break // weaker ones have no say
		}
	}
	slices.Sort(all)
	return all
}

// outcome is what a twin is due for which certain rules match.
type outcome struct {
	list   []twin.Configuration // in the order of the ids
	leaves []owned
	exact  bool // whatever desired property is not among the leaves has to go
	sealed bool // no weaker deployment has a say
}

// outcome finds what a twin is due; above is the device of a module.
func (r *rules) outcome(t, above *twin.Twin) *outcome {
	key := make([]byte, 0, 64)
	for i, rule := range r.all {
		if rule.concerns(t, above) {
			key = append(key, byte(i>>8), byte(i))
		}
	}
	places := len(key)
	key = append(key, t.ModuleID...) // deployments hold other content for each module
	if known, ok := r.outcomes.Load(string(key)); ok {
		return known.(*outcome)
	}
	o := &outcome{}
	for i := 0; i < places; i += 2 {
		o.add(r.all[int(key[i])<<8|int(key[i+1])], t.ModuleID)
	}
	slices.SortFunc(o.list, func(a, b twin.Configuration) int { return cmp.Compare(a.ID, b.ID) })
	known, _ := r.outcomes.LoadOrStore(string(key), o)
	return known.(*outcome)
}

// owned is a leaf and whose it is.
type owned struct {
	configuration.Leaf
	by *metadata.Origin
}

// add adds a rule that is weaker than all before: of its leaves those count that none of theirs rules out. A rule of
// which something counts is applied, others are targeted (iot-hub-automatic-device-management). Of deployments, one
// that holds all of a module rules out those weaker than it (iot-edge, module-deployment-monitoring).
func (o *outcome) add(r *rule, module string) {
	stronger := len(o.leaves)
	leaves, applied := r.leaves, false
	if r.kind == configuration.ForEdge {
		leaves, applied = r.modules[module], !o.sealed && module == ""
		if o.sealed {
			leaves = nil
		}
	}
	for _, leaf := range leaves {
		if !slices.ContainsFunc(o.leaves[:stronger], func(x owned) bool { return x.Overlaps(leaf) }) {
			o.leaves = append(o.leaves, owned{leaf, r.origin})
		}
	}
	if r.kind == configuration.ForEdge && r.base && !o.sealed {
		o.sealed, o.exact, applied = true, r.whole[module], true
	}
	status := twin.Targeted
	if applied || len(o.leaves) > stronger {
		status = twin.Applied
	}
	o.list = append(o.list, twin.Configuration{ID: r.id, Status: status})
}

// write makes the twin that a twin is due; it is the same when it is due nothing. A leaf that a service wrote over is
// written again: the configuration says what it shall be. Above is the device of a module. Content that the twin has no room for is not written, and its
// configurations stay targeted.
func (r *rules) write(t, above *twin.Twin, now time.Time) (*twin.Twin, jsonvalue.Value, error) {
	o := r.outcome(t, above)
	var due []configuration.Leaf
	var origins []owned
	for _, leaf := range o.leaves {
		if !t.Desired.Origin(leaf.Path...).Same(leaf.by) || !t.Desired.Value().Path(leaf.Path...).Equal(leaf.Value) {
			due = append(due, leaf.Leaf)
			origins = append(origins, leaf)
		}
	}
	content := configuration.Document(due)
	if o.exact {
		content = without(t.Desired.Value(), o.leaves, content)
	}
	if content.Len() == 0 {
		return t.Configure(o.list, jsonvalue.Value{}, nil, now)
	}
	next, delta, err := t.Configure(o.list, content, func(path []string) *metadata.Origin {
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

// without adds a null to a patch for each member at the top of a document that no leaf is below.
func without(doc jsonvalue.Value, leaves []owned, patch jsonvalue.Value) jsonvalue.Value {
	members := slices.Clone(patch.Map().Members())
	for _, m := range doc.Map().Members() {
		if !slices.ContainsFunc(leaves, func(l owned) bool { return l.Path[0] == m.Key }) {
			members = append(members, jsonvalue.Member{Key: m.Key, Value: jsonvalue.NullValue()})
		}
	}
	return jsonvalue.ObjectValue(members...)
}
