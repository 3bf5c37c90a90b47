// Package query answers queries in the IoT Hub query language from the twins of a source
// (iot-hub-devguide-query-language).
package query

import (
	"strings"

	"github.com/twinfleet/twinfleet/internal/iothub/query/eval"
	"github.com/twinfleet/twinfleet/internal/iothub/query/parse"
	"github.com/twinfleet/twinfleet/internal/iothub/query/plan"
	"github.com/twinfleet/twinfleet/internal/iothub/query/tree"
	"github.com/twinfleet/twinfleet/internal/iothub/twin"
)

// Query is a query that is ready to run. It is immutable and safe for concurrent use.
type Query struct {
	*tree.Query // the query as it was parsed
	keep        eval.Predicate
}

// Parse reads a query of at most [parse.MaxLength] characters. Its errors are *[scan.SyntaxError].
func Parse(sql string) (*Query, error) { return compiled(parse.Query(sql)) }

// Condition reads the condition of a job, and gives the query that selects the job's devices. Its errors are
// *[scan.SyntaxError], and count from the start of text.
func Condition(text string) (*Query, error) { return compiled(parse.Condition(text)) }

func compiled(q *tree.Query, err error) (*Query, error) {
	if err != nil {
		return nil, err
	}
	out := &Query{Query: q}
	if q.Where != nil {
		out.keep = eval.Compile(q.Where, q.From)
	}
	return out, nil
}

// Matches reports whether a twin is kept: only if the condition is exactly true.
func (q *Query) Matches(t *twin.Twin) bool { return q.keeps(eval.Record{Twin: t}) }

func (q *Query) keeps(r eval.Record) bool { return q.keep == nil || q.keep(r) == eval.True }

// Plan is how a query will be answered from a source: which indexes narrow the twins down before
// the condition is evaluated on each.
type Plan struct {
	query  *Query
	source plan.Source
	access plan.Access // nil for a scan of all twins.
}

// Plan chooses the indexes for a query. The source holds the twins of the collection that the query reads, devices
// or modules; a nil one is empty.
func (q *Query) Plan(src plan.Source) *Plan {
	p := &Plan{query: q, source: src}
	if q.Where != nil && q.From != tree.Jobs && src != nil {
		p.access = plan.For(q.Where, q.From, src)
	}
	return p
}

// Explain tells the plan, one line a step. A range that turns out to hold a large share of the fleet
// is not read: its twins are found sooner without the index.
func (p *Plan) Explain() string {
	var b strings.Builder
	switch {
	case p.query.From == tree.Jobs:
		return "jobs\n"
	case p.source == nil:
		return "empty\n"
	}
	if p.access == nil {
		b.WriteString("scan\n")
	} else {
		p.access.Explain(&b, 0)
	}
	if p.query.Where != nil {
		b.WriteString("filter " + tree.Text(p.query.Where) + "\n")
	}
	if p.query.Aggregates() {
		b.WriteString("aggregate\n")
	}
	return b.String()
}
