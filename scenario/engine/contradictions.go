package engine

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/human"
)

// errContradiction is the class of errors of a target that told what cannot be true: whatever it was
// measured at, its answers are not worth the name.
var errContradiction = errors.New("the target contradicts itself")

// contradictions are those of a run, in bounded space: how many of each kind, and the first of them.
type contradictions struct {
	mu        sync.Mutex // protects the following fields
	kinds     []contradiction
	suspicion string // what is likely to have happened, and not certain; empty for nothing
}

type contradiction struct {
	kind  string
	count int
	first string
}

// add counts a contradiction; it is true for the first of its kind.
func (c *contradictions) add(kind, example string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.kinds {
		if c.kinds[i].kind == kind {
			c.kinds[i].count++
			return false
		}
	}
	c.kinds = append(c.kinds, contradiction{kind, 1, example})
	return true
}

// err is what the run fails with; nil without a contradiction.
func (c *contradictions) err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.kinds) == 0 {
		return nil
	}
	texts := make([]string, len(c.kinds))
	for i, k := range c.kinds {
		texts[i] = fmt.Sprintf("%s × %s (%s)", human.Count(k.count), k.kind, k.first)
	}
	return fmt.Errorf("%w: %s", errContradiction, strings.Join(texts, "; "))
}

// suspect notes what is likely to have happened; it is true for the first.
func (c *contradictions) suspect(what string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.suspicion != "" {
		return false
	}
	c.suspicion = what
	return true
}

// suspected is what is likely to have happened; empty for nothing.
func (c *contradictions) suspected() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.suspicion
}

// contradiction takes what a device was told. Of a group, agents may tell more than once.
func (c *conductor) contradiction(x fleet.Contradiction) {
	switch x.Kind {
	case fleet.LoweredQoS:
		c.lowered(x)
	case fleet.Redirected:
		c.redirected(x.Detail, x.Index)
	case fleet.LikelyTakenOver, fleet.LikelyOneTakenOver: // a guess fails no run, and lets none pass
		if what := string(x.Kind) + " (" + x.Device + ": " + x.Detail + ")"; c.contradictions.suspect(what) {
			c.ledger.Write(func(r *report.Run) { r.Suspicion = what })
			c.ledger.Tell(report.Event{Kind: report.KindWarning, Text: string(x.Kind), Detail: x.Device + ": " + x.Detail})
		}
	default:
		c.contradicted(string(x.Kind), x.Device+": "+x.Detail)
	}
}

// lowered notes that a group's subscriptions have a lower quality of service than was asked for, once.
func (c *conductor) lowered(x fleet.Contradiction) {
	note := string(x.Kind) + " (" + x.Detail + ")"
	c.ledger.Write(func(r *report.Run) {
		if !slices.Contains(r.Notes, note) {
			r.Notes = append(r.Notes, note)
		}
	})
}

// contradicted takes what the target said and what cannot be true.
func (c *conductor) contradicted(kind, example string) {
	if c.contradictions.add(kind, example) {
		c.ledger.Tell(report.Event{Kind: report.KindVerified, Text: kind, Detail: example})
	}
}
