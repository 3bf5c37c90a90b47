package query

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
)

// Plan is how a query will be answered from a source: which indexes narrow the twins down before
// the condition is evaluated on each.
type Plan struct {
	query  *Query
	source Source
	access access // nil for a scan of all twins.
}

// access finds a superset of the twins that a part of the condition keeps.
type access interface {
	// find is what the indexes know now; nil when that is no help.
	find(s search) finding
	explain(b *strings.Builder, depth int)
}

// Plan chooses the indexes for a query.
func (q *Query) Plan(src Source) *Plan {
	p := &Plan{query: q, source: src}
	if q.where != nil && q.from == Devices {
		p.access = plan(q.where, src)
	}
	return p
}

// Explain tells the plan, one line a step. A range that turns out to hold a large share of the fleet
// is not read: its twins are found sooner without the index.
func (p *Plan) Explain() string {
	var b strings.Builder
	switch p.query.from {
	case Modules:
		return "empty\n"
	case Jobs:
		return "jobs\n"
	}
	if p.access == nil {
		b.WriteString("scan\n")
	} else {
		p.access.explain(&b, 0)
	}
	if p.query.where != nil {
		b.WriteString("filter " + text(p.query.where) + "\n")
	}
	if p.query.aggregates() {
		b.WriteString("aggregate\n")
	}
	return b.String()
}

func indent(b *strings.Builder, depth int, format string, a ...any) {
	b.WriteString(strings.Repeat("  ", depth))
	fmt.Fprintf(b, format+"\n", a...)
}

// plan finds an access for a condition, or nil when no index helps. What it finds is a superset,
// because the condition is evaluated on every twin afterwards.
func plan(e expr, src Source) access {
	switch e := e.(type) {
	case binary:
		switch e.op {
		case "AND":
			var parts []access
			for _, side := range conjuncts(e, nil) {
				if a := plan(side, src); a != nil {
					parts = append(parts, a)
				}
			}
			switch len(parts) {
			case 0:
				return nil
			case 1:
				return parts[0]
			}
			return intersection(parts)
		case "OR":
			x, y := plan(e.x, src), plan(e.y, src)
			if x == nil || y == nil {
				return nil // one side needs a scan, so both do
			}
			return union{x, y}
		}
		return planComparison(e, src)
	case in:
		if p, ok := e.x.(path); ok && !e.not {
			return planIn(p, e.values, src)
		}
	case call:
		return planPrefix(e, src)
	}
	return nil
}

func conjuncts(e expr, into []expr) []expr {
	if b, ok := e.(binary); ok && b.op == "AND" {
		return conjuncts(b.y, conjuncts(b.x, into))
	}
	return append(into, e)
}

func indexable(v jsonvalue.Value) bool {
	return v.Kind() == jsonvalue.String || v.Kind() == jsonvalue.Number || v.Kind() == jsonvalue.Bool
}

func isDeviceID(p path) bool { return len(p) == 1 && p[0] == "deviceId" }

// planComparison serves path op constant, and constant op path the other way round.
func planComparison(b binary, src Source) access {
	p, isPath := b.x.(path)
	l, isLiteral := b.y.(literal)
	op := b.op
	if !isPath || !isLiteral {
		if p, isPath = b.y.(path); !isPath {
			return nil
		}
		if l, isLiteral = b.x.(literal); !isLiteral {
			return nil
		}
		op = map[string]string{"=": "=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}[op]
	}
	if !indexable(l.value) {
		return nil
	}
	if op == "=" {
		return planIn(p, array{l.value}, src)
	}
	bound := Bound{Value: l.value, Open: op == "<" || op == ">"}
	switch op {
	case "<", "<=":
		return planRange(p, Bound{}, bound, src)
	case ">", ">=":
		return planRange(p, bound, Bound{}, src)
	}
	return nil
}

func planIn(p path, values array, src Source) access {
	if !slices.ContainsFunc(values, func(v jsonvalue.Value) bool { return !indexable(v) }) {
		if isDeviceID(p) {
			return byID{values, src}
		}
		if index := src.Lookup(p); index != nil {
			return equal{p, values, index}
		}
	}
	return nil
}

func planRange(p path, low, high Bound, src Source) access {
	index := src.Lookup(p)
	if index == nil {
		return nil
	}
	return between{p, low, high, index}
}

// planPrefix serves STARTSWITH(path, 'text') as a range of strings.
func planPrefix(c call, src Source) access {
	if c.name != "STARTSWITH" {
		return nil
	}
	p, isPath := c.args[0].(path)
	l, isLiteral := c.args[1].(literal)
	if !isPath || !isLiteral || l.value.Kind() != jsonvalue.String || isDeviceID(p) {
		return nil
	}
	high := Bound{}
	if end := prefixEnd(l.value.Str()); end != "" {
		high = Bound{Value: jsonvalue.StringValue(end), Open: true}
	}
	return planRange(p, Bound{Value: l.value}, high, src)
}

// prefixEnd is the first string after all that begin with s, or "" when there is none.
func prefixEnd(s string) string {
	b := []byte(s)
	for len(b) > 0 {
		if b[len(b)-1] < 0xff {
			b[len(b)-1]++
			return string(b)
		}
		b = b[:len(b)-1]
	}
	return ""
}

type byID struct {
	ids array
	src Source
}

func (a byID) find(search) finding {
	out := roaring.New()
	for _, id := range a.ids {
		if ord, _, ok := a.src.ByID(id.Str()); ok {
			out.Add(ord)
		}
	}
	return anyOf{out}
}

func (a byID) explain(b *strings.Builder, depth int) { indent(b, depth, "ids %s", text(a.ids)) }

type equal struct {
	path   path
	values array
	index  Index
}

func (a equal) find(search) finding {
	out := anyOf{}
	for _, v := range a.values {
		if found := a.index.Equal(v); found != nil {
			out = append(out, found)
		}
	}
	return out
}

func (a equal) explain(b *strings.Builder, depth int) {
	indent(b, depth, "index %s in %s", text(a.path), text(a.values))
}

type between struct {
	path      path
	low, high Bound
	index     Index
}

func (a between) find(s search) finding {
	found, ok := a.index.Range(a.low, a.high, s.most())
	switch {
	case !ok:
		return nil
	case found == nil:
		return anyOf{}
	}
	return anyOf{found}
}

func (a between) explain(b *strings.Builder, depth int) {
	parts := []string{}
	if a.low.Value.IsDefined() {
		parts = append(parts, map[bool]string{true: "above ", false: "from "}[a.low.Open]+text(literal{a.low.Value}))
	}
	if a.high.Value.IsDefined() {
		parts = append(parts, map[bool]string{true: "below ", false: "up to "}[a.high.Open]+text(literal{a.high.Value}))
	}
	indent(b, depth, "index %s %s", text(a.path), strings.Join(parts, " "))
}

type intersection []access

// find looks first at what costs little: a range need only be read as far as it is worth it beside
// the others, since the condition is evaluated on every twin afterwards.
func (a intersection) find(s search) finding {
	var out allOf
	for _, ranges := range []bool{false, true} {
		for _, part := range a {
			if _, is := part.(between); is != ranges || s.among == 0 {
				continue
			}
			if found := part.find(s); found != nil {
				out = append(out, found)
				s.among = min(s.among, found.size())
			}
		}
	}
	if out == nil {
		return nil
	}
	slices.SortFunc(out, func(x, y finding) int { return cmp.Compare(x.size(), y.size()) })
	return out
}

func (a intersection) explain(b *strings.Builder, depth int) {
	indent(b, depth, "all of")
	for _, part := range a {
		part.explain(b, depth+1)
	}
}

type union struct{ x, y access }

func (a union) find(s search) finding {
	x := a.x.find(s)
	if x == nil {
		return nil
	}
	y := a.y.find(s)
	if y == nil {
		return nil
	}
	return eitherOf{x, y}
}

func (a union) explain(b *strings.Builder, depth int) {
	indent(b, depth, "any of")
	a.x.explain(b, depth+1)
	a.y.explain(b, depth+1)
}
