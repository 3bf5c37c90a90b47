package query

import (
	"context"

	"github.com/twinfleet/twinfleet/internal/iothub/twin"
)

// accumulator gathers one aggregate of one group.
type accumulator struct {
	count    int     // rows, for COUNT; values that take part, for the others
	sum      float64 // numbers
	extreme  twin.Value
	anything bool
}

// add takes one value. AVG and SUM pass over what is no number; MIN and MAX keep to the kind of the
// first primitive they meet.
func (a *accumulator) add(aggregate string, v twin.Value) {
	switch aggregate {
	case "COUNT":
		if v.IsDefined() {
			a.count++
		}
	case "AVG", "SUM":
		if v.Kind() == twin.Number {
			a.count++
			a.sum += v.Num()
		}
	default:
		if !indexable(v) {
			return
		}
		op := "<"
		if aggregate == "MAX" {
			op = ">"
		}
		if !a.anything || isBool(compare(op, v, a.extreme), true) {
			a.extreme, a.anything = v, true
		}
	}
}

// value is the result; undefined when nothing took part, except for COUNT and SUM.
func (a *accumulator) value(aggregate string) twin.Value {
	switch aggregate {
	case "COUNT":
		return twin.IntValue(int64(a.count))
	case "SUM":
		return twin.NumberValue(a.sum)
	case "AVG":
		if a.count == 0 {
			return twin.Value{}
		}
		return twin.NumberValue(a.sum / float64(a.count))
	default:
		return a.extreme
	}
}

type group struct {
	keys []twin.Value
	sums []accumulator
}

// groups gathers rows by the values of the GROUP BY attributes, in the order of their first row.
type groups struct {
	query *Query
	all   []*group
	byKey map[string]*group
	key   []byte
}

func (g *groups) add(t *twin.Twin) {
	g.key = g.key[:0]
	keys := make([]twin.Value, 0, 4)
	for _, p := range g.query.groupBy {
		v := t.Field(p...)
		keys = append(keys, v)
		g.key = append(g.key, byte(v.Kind()))
		g.key = append(v.AppendJSON(g.key), 0)
	}
	target := g.byKey[string(g.key)]
	if target == nil {
		target = g.group(keys)
	}
	for i, it := range g.query.items {
		switch {
		case it.aggregate == "":
		case it.path == nil:
			target.sums[i].count++
		default:
			target.sums[i].add(it.aggregate, t.Field(it.path...))
		}
	}
}

func (g *groups) group(keys []twin.Value) *group {
	target := &group{keys: keys, sums: make([]accumulator, len(g.query.items))}
	g.byKey[string(g.key)] = target
	g.all = append(g.all, target)
	return target
}

// row writes one group as the select list wants it.
func (g *groups) row(of *group) []byte {
	members := make([]twin.Member, 0, len(g.query.items))
	for i, it := range g.query.items {
		v := twin.Value{}
		if it.aggregate != "" {
			v = of.sums[i].value(it.aggregate)
		} else {
			for k, p := range g.query.groupBy {
				if equalPath(p, it.path) {
					v = of.keys[k]
				}
			}
		}
		if v.IsDefined() {
			members = append(members, twin.Member{Key: it.label(i), Value: v})
		}
	}
	return twin.ObjectValue(members...).AppendJSON(nil)
}

func equalPath(a, b path) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// aggregate reads all rows in one pass and answers the page of the result that from names.
// Without GROUP BY there is always one row, also over nothing.
func (p *Plan) aggregate(ctx context.Context, page Page, size int, from position) (Page, error) {
	g := &groups{query: p.query, byKey: make(map[string]*group)}
	if p.query.groupBy == nil {
		g.group(nil)
	}
	count := 0
	for _, t := range p.rows(0) {
		if count++; count%checkEvery == 0 && ctx.Err() != nil {
			return Page{}, context.Cause(ctx)
		}
		if p.keep == nil || isBool(p.keep(t), true) {
			g.add(t)
		}
	}
	all := g.all
	if p.query.top > 0 {
		all = all[:min(p.query.top, len(all))]
	}
	first := min(int(from.at), len(all))
	last := min(first+size, len(all))
	for _, one := range all[first:last] {
		page.Items = append(page.Items, g.row(one))
	}
	if last < len(all) {
		page.Continuation = p.query.encode(position{at: uint64(last)}, size)
	}
	return page, nil
}
