package query

import (
	"context"
	be "encoding/binary"
	"runtime"
	"slices"
	"sync"

	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
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
		if !indexable(v) {
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
	if !a.anything || outcomes(op).compare(v, a.extreme) == isTrue {
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

// groups gathers rows by the values of the GROUP BY attributes, in the order of their first row.
type groups struct {
	query *Query
	by    []evaluator // Of the GROUP BY attributes.
	of    []evaluator // Of the elements of the select list; nil where there is nothing to read.
	all   []*group
	byKey map[string]*group
	key   []byte
	keys  []jsonvalue.Value
}

func newGroups(q *Query) *groups {
	g := &groups{query: q, byKey: make(map[string]*group), keys: make([]jsonvalue.Value, len(q.groupBy))}
	for _, p := range q.groupBy {
		g.by = append(g.by, q.lookup(p))
	}
	for _, it := range q.items {
		var read evaluator
		if it.aggregate != "" && it.path != nil {
			read = q.lookup(it.path)
		}
		g.of = append(g.of, read)
	}
	if q.groupBy == nil {
		g.group() // Without GROUP BY there is always one row, also over nothing.
	}
	return g
}

func (g *groups) add(t *twin.Twin) {
	r := record{twin: t}
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
			target.sums[i].add(g.query.items[i].aggregate, read(r))
		case g.query.items[i].aggregate != "":
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
func (g *groups) group() *group {
	target := &group{key: string(g.key), keys: slices.Clone(g.keys), sums: make([]accumulator, len(g.query.items))}
	g.byKey[target.key] = target
	g.all = append(g.all, target)
	return target
}

// row writes one group as the select list wants it.
func (g *groups) row(of *group) []byte {
	members := make([]jsonvalue.Member, 0, len(g.query.items))
	for i, it := range g.query.items {
		v := jsonvalue.Value{}
		if it.aggregate != "" {
			v = of.sums[i].value(it.aggregate)
		} else {
			for k, p := range g.query.groupBy {
				if slices.Equal(p, it.path) {
					v = of.keys[k]
				}
			}
		}
		if v.IsDefined() {
			members = append(members, jsonvalue.Member{Key: it.label(i), Value: v})
		}
	}
	return jsonvalue.ObjectValue(members...).AppendJSON(nil)
}

// smallSpan is how many numbers of twins are not worth a goroutine of their own.
const smallSpan = 8192

// gather groups all rows. A scan waits for memory more than it computes, so that several spans of the
// twins are read at once; what they gathered is put together in their order.
func (p *Plan) gather(ctx context.Context) (*groups, error) {
	found, limit := p.find(true), uint64(p.source.Max())
	spans := max(1, min(uint64(runtime.GOMAXPROCS(0)), limit/smallSpan))
	parts := make([]*groups, spans)
	var work sync.WaitGroup
	for i := range spans {
		parts[i] = newGroups(p.query)
		work.Go(func() { p.gatherSpan(ctx, parts[i], found, limit*i/spans, limit*(i+1)/spans) })
	}
	work.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	for _, part := range parts[1:] {
		parts[0].merge(part)
	}
	return parts[0], nil
}

// gatherSpan adds the rows from one number to below another, unless ctx ends.
func (p *Plan) gatherSpan(ctx context.Context, g *groups, found finding, from, to uint64) {
	count := 0
	for _, t := range p.between(found, from, to) {
		if count++; count%checkEvery == 0 && ctx.Err() != nil {
			return
		}
		if p.query.keeps(record{twin: t}) {
			g.add(t)
		}
	}
}

// merge adds what was gathered of later rows.
func (g *groups) merge(later *groups) {
	for _, from := range later.all {
		target := g.byKey[from.key]
		if target == nil {
			g.byKey[from.key] = from
			g.all = append(g.all, from)
			continue
		}
		for i := range target.sums {
			target.sums[i].merge(g.query.items[i].aggregate, &from.sums[i])
		}
	}
}

// aggregate reads all rows in one pass and answers the page of the result that from names.
func (p *Plan) aggregate(ctx context.Context, page Page, size int, from position) (Page, error) {
	g, err := p.gather(ctx)
	if err != nil {
		return Page{}, err
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
