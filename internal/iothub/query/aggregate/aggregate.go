// Package aggregate sums up the rows of a query by groups.
package aggregate

import (
	be "encoding/binary"
	"slices"

	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
	"github.com/twinfleet/twinfleet/internal/iothub/query/eval"
	"github.com/twinfleet/twinfleet/internal/iothub/query/tree"
	"github.com/twinfleet/twinfleet/internal/iothub/twin"
)

// accumulator gathers one aggregate of one group.
type accumulator struct {
	count    int     // rows, for COUNT; values that take part, for the others
	sum      float64 // numbers
	extreme  jsonvalue.Value
	anything bool
}

// add takes one value. AVG and SUM pass over what is no number; MIN and MAX keep to the kind of the
// first primitive they meet.
func (a *accumulator) add(aggregate string, v jsonvalue.Value) {
	switch aggregate {
	case "AVG", "SUM":
		if v.Kind() == jsonvalue.Number {
			a.count++
			a.sum += v.Num()
		}
	default:
		if !v.IsScalar() {
			return
		}
		a.widen(aggregate, v)
	}
}

// widen is add for MIN and MAX.
func (a *accumulator) widen(aggregate string, v jsonvalue.Value) {
	op := "<"
	if aggregate == "MAX" {
		op = ">"
	}
	if !a.anything || eval.Compare(op, v, a.extreme) == eval.True {
		a.extreme, a.anything = v, true
	}
}

// merge adds what was gathered of later rows.
func (a *accumulator) merge(aggregate string, later *accumulator) {
	a.count += later.count
	a.sum += later.sum
	if later.anything {
		a.widen(aggregate, later.extreme)
	}
}

// value is the result; undefined when nothing took part, except for COUNT and SUM.
func (a *accumulator) value(aggregate string) jsonvalue.Value {
	switch aggregate {
	case "COUNT":
		return jsonvalue.IntValue(int64(a.count))
	case "SUM":
		return jsonvalue.NumberValue(a.sum)
	case "AVG":
		if a.count == 0 {
			return jsonvalue.Value{}
		}
		return jsonvalue.NumberValue(a.sum / float64(a.count))
	default:
		return a.extreme
	}
}

type group struct {
	key  string
	keys []jsonvalue.Value
	sums []accumulator
}

// Groups gathers rows by the values of the GROUP BY attributes, in the order of their first row.
type Groups struct {
	query *tree.Query
	by    []eval.Evaluator // Of the GROUP BY attributes.
	of    []eval.Evaluator // Of the elements of the select list; nil where there is nothing to read.
	all   []*group
	byKey map[string]*group
	key   []byte
	keys  []jsonvalue.Value
}

// New makes the groups of a query over no rows.
func New(q *tree.Query) *Groups {
	g := &Groups{query: q, byKey: make(map[string]*group), keys: make([]jsonvalue.Value, len(q.GroupBy))}
	for _, p := range q.GroupBy {
		g.by = append(g.by, eval.Lookup(p, q.From))
	}
	for _, it := range q.Items {
		var read eval.Evaluator
		if it.Aggregate != "" && it.Path != nil {
			read = eval.Lookup(it.Path, q.From)
		}
		g.of = append(g.of, read)
	}
	if q.GroupBy == nil {
		g.group() // Without GROUP BY there is always one row, also over nothing.
	}
	return g
}

// Add adds the next row.
func (g *Groups) Add(t *twin.Twin) {
	r := eval.Record{Twin: t}
	g.key = g.key[:0]
	for i, read := range g.by {
		g.keys[i] = read(r)
		g.key = appendKey(g.key, g.keys[i])
	}
	target := g.byKey[string(g.key)]
	if target == nil {
		target = g.group()
	}
	for i, read := range g.of {
		switch {
		case read != nil:
			target.sums[i].add(g.query.Items[i].Aggregate, read(r))
		case g.query.Items[i].Aggregate != "":
			target.sums[i].count++
		}
	}
}

// appendKey adds a value in a way that tells it from all others, with its length before it.
func appendKey(key []byte, v jsonvalue.Value) []byte {
	key = append(key, byte(v.Kind()))
	switch v.Kind() {
	case jsonvalue.Undefined, jsonvalue.Null:
		return key
	case jsonvalue.String:
		key = be.LittleEndian.AppendUint32(key, uint32(len(v.Str())))
		return append(key, v.Str()...)
	}
	at := len(key)
	key = v.AppendJSON(append(key, 0, 0, 0, 0))
	be.LittleEndian.PutUint32(key[at:], uint32(len(key)-at-4))
	return key
}

// group begins the group of the current key.
func (g *Groups) group() *group {
	target := &group{key: string(g.key), keys: slices.Clone(g.keys), sums: make([]accumulator, len(g.query.Items))}
	g.byKey[target.key] = target
	g.all = append(g.all, target)
	return target
}

// Len is how many groups there are.
func (g *Groups) Len() int { return len(g.all) }

// Row writes a group as the select list wants it, in the order of their first rows.
func (g *Groups) Row(n int) []byte {
	of := g.all[n]
	members := make([]jsonvalue.Member, 0, len(g.query.Items))
	for i, it := range g.query.Items {
		v := jsonvalue.Value{}
		if it.Aggregate != "" {
			v = of.sums[i].value(it.Aggregate)
		} else {
			for k, p := range g.query.GroupBy {
				if slices.Equal(p, it.Path) {
					v = of.keys[k]
				}
			}
		}
		if v.IsDefined() {
			members = append(members, jsonvalue.Member{Key: it.Label(i), Value: v})
		}
	}
	return jsonvalue.ObjectValue(members...).AppendJSON(nil)
}

// Merge adds what was gathered of later rows.
func (g *Groups) Merge(later *Groups) {
	for _, from := range later.all {
		target := g.byKey[from.key]
		if target == nil {
			g.byKey[from.key] = from
			g.all = append(g.all, from)
			continue
		}
		for i := range target.sums {
			target.sums[i].merge(g.query.Items[i].Aggregate, &from.sums[i])
		}
	}
}
