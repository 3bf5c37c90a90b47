package query

import (
	"context"
	"runtime"
	"sync"

	"github.com/twinfleet/twinfleet/internal/iothub/query/aggregate"
	"github.com/twinfleet/twinfleet/internal/iothub/query/eval"
	"github.com/twinfleet/twinfleet/internal/iothub/query/lazyset"
	"github.com/twinfleet/twinfleet/internal/iothub/query/paging"
)

// smallSpan is how many numbers of twins are not worth a goroutine of their own.
const smallSpan = 8192

// gather groups all rows. A scan waits for memory more than it computes, so that several spans of the
// twins are read at once; what they gathered is put together in their order.
func (p *Plan) gather(ctx context.Context) (*aggregate.Groups, error) {
	found, limit := p.find(true), uint64(p.source.Max())
	spans := max(1, min(uint64(runtime.GOMAXPROCS(0)), limit/smallSpan))
	parts := make([]*aggregate.Groups, spans)
	var work sync.WaitGroup
	for i := range spans {
		parts[i] = aggregate.New(p.query.Query)
		work.Go(func() { p.gatherSpan(ctx, parts[i], found, limit*i/spans, limit*(i+1)/spans) })
	}
	work.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	for _, part := range parts[1:] {
		parts[0].Merge(part)
	}
	return parts[0], nil
}

// gatherSpan adds the rows from one number to below another, unless ctx ends.
func (p *Plan) gatherSpan(ctx context.Context, g *aggregate.Groups, found lazyset.Set, from, to uint64) {
	count := 0
	for _, t := range p.between(found, from, to) {
		if count++; count%checkEvery == 0 && ctx.Err() != nil {
			return
		}
		if p.query.keeps(eval.Record{Twin: t}) {
			g.Add(t)
		}
	}
}

// aggregate reads all rows in one pass and answers the page of the result that from names.
func (p *Plan) aggregate(ctx context.Context, page paging.Page, size int, from paging.Position) (paging.Page, error) {
	g, err := p.gather(ctx)
	if err != nil {
		return paging.Page{}, err
	}
	all := g.Len()
	if p.query.Top > 0 {
		all = min(p.query.Top, all)
	}
	first := min(int(from.At), all)
	last := min(first+size, all)
	for n := first; n < last; n++ {
		page.Items = append(page.Items, g.Row(n))
	}
	if last < all {
		page.Continuation = paging.Encode(p.query.Text, paging.Position{At: uint64(last)})
	}
	return page, nil
}
