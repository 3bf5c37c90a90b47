// Package plan chooses the indexes that narrow a query down before its condition is evaluated.
package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
	"github.com/twinfleet/twinfleet/internal/iothub/query/attribute"
	"github.com/twinfleet/twinfleet/internal/iothub/query/lazyset"
	"github.com/twinfleet/twinfleet/internal/iothub/query/tree"
)

// Access finds a superset of the twins that a part of the condition keeps.
type Access interface {
	// Find is what the indexes know now; nil when that is no help.
	Find(s Search) lazyset.Set
	// Explain writes what will be asked, one line a step.
	Explain(b *strings.Builder, depth int)
}

func indent(b *strings.Builder, depth int, format string, a ...any) {
	b.WriteString(strings.Repeat("  ", depth))
	fmt.Fprintf(b, format+"\n", a...)
}

// For finds an access for a condition on a collection of twins, or nil when no index helps. What it finds is a
// superset, because the condition is evaluated on every twin afterwards.
func For(e tree.Expr, from tree.Collection, src Source) Access { return planner{from, src}.access(e) }

// planner chooses among the indexes of a source, which holds a collection.
type planner struct {
	from tree.Collection
	src  Source
}

func (pl planner) access(e tree.Expr) Access {
	switch e := e.(type) {
	case tree.Binary:
		switch e.Op {
		case "AND":
			var parts []Access
			for _, side := range conjuncts(e, nil) {
				if a := pl.access(side); a != nil {
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
			x, y := pl.access(e.X), pl.access(e.Y)
			if x == nil || y == nil {
				return nil // one side needs a scan, so both do
			}
			return union{x, y}
		}
		return pl.comparison(e)
	case tree.In:
		if p, ok := e.X.(tree.Path); ok && !e.Not {
			return pl.in(p, e.Values)
		}
	case tree.Call:
		return pl.prefix(e)
	}
	return nil
}

func conjuncts(e tree.Expr, into []tree.Expr) []tree.Expr {
	if b, ok := e.(tree.Binary); ok && b.Op == "AND" {
		return conjuncts(b.Y, conjuncts(b.X, into))
	}
	return append(into, e)
}

// isKey reports whether a path is the id by which the source finds a twin. A device has one; its modules have the
// same device id, all of them.
func (pl planner) isKey(p tree.Path) bool {
	return pl.from == tree.Devices && len(p) == 1 && p[0] == "deviceId"
}

// comparison serves path op constant, and constant op path the other way round.
func (pl planner) comparison(b tree.Binary) Access {
	p, isPath := b.X.(tree.Path)
	l, isLiteral := b.Y.(tree.Literal)
	op := b.Op
	if !isPath || !isLiteral {
		if p, isPath = b.Y.(tree.Path); !isPath {
			return nil
		}
		if l, isLiteral = b.X.(tree.Literal); !isLiteral {
			return nil
		}
		op = map[string]string{"=": "=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}[op]
	}
	if !l.Value.IsScalar() {
		return nil
	}
	if op == "=" {
		return pl.in(p, tree.Array{l.Value})
	}
	bound := Bound{Value: l.Value, Open: op == "<" || op == ">"}
	switch op {
	case "<", "<=":
		return pl.between(p, Bound{}, bound)
	case ">", ">=":
		return pl.between(p, bound, Bound{})
	}
	return nil
}

func (pl planner) in(p tree.Path, values tree.Array) Access {
	if !slices.ContainsFunc(values, func(v jsonvalue.Value) bool { return !v.IsScalar() }) {
		if pl.isKey(p) {
			return byID{values, pl.src}
		}
		if index := pl.index(p); index != nil {
			return equal{p, values, index}
		}
	}
	return nil
}

// index is the one over a path. What twins do not have is not worth one.
func (pl planner) index(p tree.Path) Index {
	if !attribute.Queryable(p) {
		return nil
	}
	return pl.src.Lookup(p)
}

func (pl planner) between(p tree.Path, low, high Bound) Access {
	index := pl.index(p)
	if index == nil {
		return nil
	}
	return between{p, low, high, index}
}

// prefix serves STARTSWITH(path, 'text') as a range of strings.
func (pl planner) prefix(c tree.Call) Access {
	if c.Name != "STARTSWITH" {
		return nil
	}
	p, isPath := c.Args[0].(tree.Path)
	l, isLiteral := c.Args[1].(tree.Literal)
	if !isPath || !isLiteral || l.Value.Kind() != jsonvalue.String || pl.isKey(p) {
		return nil
	}
	high := Bound{}
	if end := prefixEnd(l.Value.Str()); end != "" {
		high = Bound{Value: jsonvalue.StringValue(end), Open: true}
	}
	return pl.between(p, Bound{Value: l.Value}, high)
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
	ids tree.Array
	src Source
}

func (a byID) Find(Search) lazyset.Set {
	out := roaring.New()
	for _, id := range a.ids {
		if ord, _, ok := a.src.ByID(id.Str()); ok {
			out.Add(ord)
		}
	}
	return lazyset.AnyOf{out}
}

func (a byID) Explain(b *strings.Builder, depth int) { indent(b, depth, "ids %s", tree.Text(a.ids)) }

type equal struct {
	path   tree.Path
	values tree.Array
	index  Index
}

func (a equal) Find(Search) lazyset.Set {
	out := lazyset.AnyOf{}
	for _, v := range a.values {
		if found := a.index.Equal(v); found != nil {
			out = append(out, found)
		}
	}
	return out
}

func (a equal) Explain(b *strings.Builder, depth int) {
	indent(b, depth, "index %s in %s", tree.Text(a.path), tree.Text(a.values))
}

type between struct {
	path      tree.Path
	low, high Bound
	index     Index
}

func (a between) Find(s Search) lazyset.Set {
	found, ok := a.index.Range(a.low, a.high, s.most())
	switch {
	case !ok:
		return nil
	case found == nil:
		return lazyset.AnyOf{}
	}
	return lazyset.AnyOf{found}
}

func (a between) Explain(b *strings.Builder, depth int) {
	parts := []string{}
	if a.low.Value.IsDefined() {
		parts = append(parts, map[bool]string{true: "above ", false: "from "}[a.low.Open]+tree.Text(tree.Literal{Value: a.low.Value}))
	}
	if a.high.Value.IsDefined() {
		parts = append(parts, map[bool]string{true: "below ", false: "up to "}[a.high.Open]+tree.Text(tree.Literal{Value: a.high.Value}))
	}
	indent(b, depth, "index %s %s", tree.Text(a.path), strings.Join(parts, " "))
}

type intersection []Access

// Find asks first for what costs little: a range need only be read as far as it is worth it beside
// the others, since the condition is evaluated on every twin afterwards.
func (a intersection) Find(s Search) lazyset.Set {
	var out lazyset.AllOf
	for _, ranges := range []bool{false, true} {
		for _, part := range a {
			if _, is := part.(between); is != ranges || s.Among == 0 {
				continue
			}
			if found := part.Find(s); found != nil {
				out = append(out, found)
				s.Among = min(s.Among, found.Size())
			}
		}
	}
	if out == nil {
		return nil
	}
	slices.SortFunc(out, func(x, y lazyset.Set) int { return cmp.Compare(x.Size(), y.Size()) })
	return out
}

func (a intersection) Explain(b *strings.Builder, depth int) {
	indent(b, depth, "all of")
	for _, part := range a {
		part.Explain(b, depth+1)
	}
}

type union struct{ x, y Access }

func (a union) Find(s Search) lazyset.Set {
	x := a.x.Find(s)
	if x == nil {
		return nil
	}
	y := a.y.Find(s)
	if y == nil {
		return nil
	}
	return lazyset.EitherOf{X: x, Y: y}
}

func (a union) Explain(b *strings.Builder, depth int) {
	indent(b, depth, "any of")
	a.x.Explain(b, depth+1)
	a.y.Explain(b, depth+1)
}
