package known

import (
	"encoding/json"
	"slices"
	"sync"
	"time"
)

// Tags is what the worker knows of the tags of each group. Its zero value knows of none. It is safe for concurrent use.
type Tags struct {
	mu     sync.Mutex // protects the following fields
	groups map[string]groupTags
	lost   bool // something else writes tags: nothing is known of them any more
}

type groupTags struct {
	patches []json.RawMessage // that all devices of the group were given, in order
	since   time.Time         // when the last of them was written
	writing bool
}

// Writing notes that the tags of a group are being written: until Written is called, nothing is known of them.
func (t *Tags) Writing(group string) {
	t.change(group, func(g *groupTags) { g.writing = true })
}

// Written notes tags that were merged into those of all devices of a group by a time.
func (t *Tags) Written(group string, patch json.RawMessage, now time.Time) {
	t.change(group, func(g *groupTags) {
		g.patches, g.since, g.writing = append(slices.Clip(g.patches), patch), now, false
	})
}

func (t *Tags) change(group string, how func(*groupTags)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.groups == nil {
		t.groups = make(map[string]groupTags)
	}
	g := t.groups[group]
	how(&g)
	t.groups[group] = g
}

// Lose notes that somebody else writes tags: from now on nothing is known of them.
func (t *Tags) Lose() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lost = true
}

// Since are the patches that made the tags which a group's devices have had since a time; ok is false
// when that is not known.
func (t *Tags) Since(group string, from time.Time) (patches []json.RawMessage, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	g := t.groups[group]
	return g.patches, !t.lost && !g.writing && !g.since.After(from)
}
