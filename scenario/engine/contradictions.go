package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
)

// ErrContradiction is the class of errors of a target that told what cannot be true: whatever it was
// measured at, its answers are not worth the name.
var ErrContradiction = errors.New("the target contradicts itself")

// contradictions are those of a run, in bounded space: how many of each kind, and the first of them.
type contradictions struct {
	mu    sync.Mutex // protects kinds
	kinds []contradiction
}

type contradiction struct {
	kind  string
	count int
	first string
}

// add counts a contradiction; it is true for the first of its kind.
func (c *contradictions) add(kind, example string, n int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.kinds {
		if c.kinds[i].kind == kind {
			c.kinds[i].count += n
			return false
		}
	}
	c.kinds = append(c.kinds, contradiction{kind, n, example})
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
		texts[i] = fmt.Sprintf("%s × %s (%s)", report.Count(int64(k.count)), k.kind, k.first)
	}
	return fmt.Errorf("%w: %s", ErrContradiction, strings.Join(texts, "; "))
}

// contradicted takes a contradiction that a device met.
func (e *Engine) contradicted(c fleet.Contradiction) {
	example := c.Device + ": " + c.Detail
	if e.contradictions.add(string(c.Kind), example, 1) {
		e.ledger.Tell(report.Event{Kind: report.KindVerified, Text: string(c.Kind), Detail: example})
	}
}

// wrongRows holds the results of queries against what the audit found in them: a row that is further behind
// than the tolerance fails the run, unless a threshold on correct_rate says how many may be.
func (e *Engine) wrongRows() error {
	var errs []error
	for _, q := range e.rec.Snapshot().Queries {
		n := q.Rows.Missing + q.Rows.Extra + q.Rows.Stale
		if n == 0 || e.judgesRows(q.Query) {
			continue
		}
		errs = append(errs, fmt.Errorf("%s of %s rows of query %s are wrong: %s missing, %s extra, %s stale; service.freshness.tolerance says how far behind a result may be, a threshold on correct_rate how many rows may be wrong",
			report.Count(int64(n)), report.Count(int64(q.Rows.Judged())), q.Query, report.Count(int64(q.Rows.Missing)), report.Count(int64(q.Rows.Extra)), report.Count(int64(q.Rows.Stale))))
	}
	return errors.Join(errs...)
}

// judgesRows reports whether a threshold says how many rows of a query may be wrong.
func (e *Engine) judgesRows(query string) bool {
	for i := range e.sc.Thresholds {
		t := &e.sc.Thresholds[i]
		if t.JudgesRows() && t.Operation == metrics.OpQuery && (t.Group == "" || t.Group == query) {
			return true
		}
	}
	return false
}

// findPhantoms looks for devices that queries have shown and that do not exist.
func (e *Engine) findPhantoms(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, verifyGrace)
	defer cancel()
	for _, p := range e.service.audit.Phantoms(ctx, querier{e.target.Service}, e.target.Service) {
		e.contradictions.add("a query shows a device that does not exist", fmt.Sprintf("query %s shows %s", p.Query, p.Device), 1)
	}
}
