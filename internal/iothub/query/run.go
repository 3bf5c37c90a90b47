package query

import (
	"context"
	"errors"
	"iter"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
	"github.com/twinfleet/twinfleet/internal/iothub/query/eval"
	"github.com/twinfleet/twinfleet/internal/iothub/query/lazyset"
	"github.com/twinfleet/twinfleet/internal/iothub/query/paging"
	"github.com/twinfleet/twinfleet/internal/iothub/query/plan"
	"github.com/twinfleet/twinfleet/internal/iothub/query/tree"
	"github.com/twinfleet/twinfleet/internal/iothub/twin"
)

// checkEvery is how many rows pass between checks of the context.
const checkEvery = 4096

// Run answers one page of at most size items. The continuation is empty for the first page. It
// returns [paging.ErrContinuation], [ErrNotTwins], or the cause of ctx.
func (p *Plan) Run(ctx context.Context, size int, continuation string) (paging.Page, error) {
	from, err := paging.Decode(p.query.Text, continuation)
	if err != nil {
		return paging.Page{}, err
	}
	page := paging.Page{ItemType: paging.ItemTwin, Items: [][]byte{}}
	if p.query.Raw() {
		page.ItemType = paging.ItemRaw
	}
	switch {
	case p.query.From == tree.Jobs:
		return paging.Page{}, ErrNotTwins
	case p.source == nil:
		return page, nil
	case p.query.Aggregates():
		return p.aggregate(ctx, page, size, from)
	}
	var room []byte
	count := 0
	for ord, t := range p.rows(from.At, false) {
		if count++; count%checkEvery == 0 && ctx.Err() != nil {
			return paging.Page{}, context.Cause(ctx)
		}
		if !p.query.keeps(eval.Record{Twin: t}) {
			continue
		}
		if p.query.Top > 0 && from.Given == uint64(p.query.Top) {
			break
		}
		if len(page.Items) == size {
			page.Continuation = paging.Encode(p.query.Text, paging.Position{At: uint64(ord), Given: from.Given})
			break
		}
		if cap(room)-len(room) < usualTwin {
			room = make([]byte, 0, roomSize)
		}
		start := len(room)
		room = p.query.appendRow(room, t)
		page.Items = append(page.Items, room[start:len(room):len(room)])
		from.Given++
	}
	return page, nil
}

// find asks the indexes; nil means to read all twins. All says that all that is found will be read.
func (p *Plan) find(all bool) lazyset.Set {
	if p.access == nil {
		return nil
	}
	return p.access.Find(plan.Search{Among: p.source.Len(), All: all})
}

// rows walks through the twins that the indexes find, in the order of their numbers.
func (p *Plan) rows(from uint64, all bool) iter.Seq2[uint32, *twin.Twin] {
	return p.between(p.find(all), from, uint64(p.source.Max()))
}

// between walks through the twins of a finding, or through all without one, from a number to below another.
func (p *Plan) between(found lazyset.Set, from, to uint64) iter.Seq2[uint32, *twin.Twin] {
	return func(yield func(uint32, *twin.Twin) bool) {
		if found == nil {
			for ord := from; ord < to; ord++ {
				if t := p.source.At(uint32(ord)); t != nil && !yield(uint32(ord), t) {
					return
				}
			}
			return
		}
		if found.Size() == 0 {
			return
		}
		for low := from; low < to; low = low/lazyset.WindowSize*lazyset.WindowSize + lazyset.WindowSize {
			window := roaring.New()
			window.AddRange(low, min(to, low/lazyset.WindowSize*lazyset.WindowSize+lazyset.WindowSize))
			for it := found.Within(window).Iterator(); it.HasNext(); {
				ord := it.Next()
				if t := p.source.At(ord); t != nil && !yield(ord, t) {
					return
				}
			}
		}
	}
}

// Rows are written one behind the other into rooms of so many bytes; one that does not fit moves.
const (
	usualTwin = 2 << 10
	roomSize  = 32 << 10
)

// appendRow writes a row as the select list wants it. Missing values are left out.
func (q *Query) appendRow(dst []byte, t *twin.Twin) []byte {
	if q.Items == nil {
		return t.AppendRow(dst)
	}
	members := make([]jsonvalue.Member, 0, len(q.Items))
	for _, it := range q.Items {
		if v := t.Field(it.Path...); v.IsDefined() {
			members = append(members, jsonvalue.Member{Key: it.Label(0), Value: v})
		}
	}
	return jsonvalue.ObjectValue(members...).AppendJSON(dst)
}

// Matches walks through all twins that the condition keeps, in the order of their numbers.
func (p *Plan) Matches() iter.Seq2[uint32, *twin.Twin] {
	return func(yield func(uint32, *twin.Twin) bool) {
		if p.source == nil {
			return
		}
		for ord, t := range p.rows(0, true) {
			if p.query.keeps(eval.Record{Twin: t}) && !yield(ord, t) {
				return
			}
		}
	}
}

// ErrNotTwins is returned by [Plan.Run] for a query on devices.jobs: [Query.RunJobs] answers those.
var ErrNotTwins = errors.New("a query on devices.jobs is not answered from twins")
