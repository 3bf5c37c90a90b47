package query

import (
	"context"
	"iter"
	"strconv"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/twinfleet/twinfleet/internal/iothub/twin"
)

// The types of items that a result may have (iot-hub-devguide-query-language).
const (
	ItemTwin = "Twin"
	ItemRaw  = "Raw"
	ItemJob  = "DeviceJob"
)

// Page is one page of a result. Items are JSON objects.
type Page struct {
	Items        [][]byte
	ItemType     string
	Continuation string // for the next page; empty on the last
}

// checkEvery is how many rows pass between looks at the context.
const checkEvery = 4096

// wide is how many twins a range may have to be read for one page: more of them are found sooner by
// looking at all twins in turn.
func wide(fleet int) int { return max(4096, fleet/64) }

// Run answers one page of at most size items. The continuation is empty for the first page. It
// returns [ErrContinuation], [ErrNotTwins], or the cause of ctx.
func (p *Plan) Run(ctx context.Context, size int, continuation string) (Page, error) {
	from, err := p.query.decode(continuation, size)
	if err != nil {
		return Page{}, err
	}
	page := Page{ItemType: ItemTwin, Items: [][]byte{}}
	if p.query.Raw() {
		page.ItemType = ItemRaw
	}
	switch {
	case p.query.from == Jobs:
		return Page{}, ErrNotTwins
	case p.query.from == Modules:
		return page, nil
	case p.query.aggregates():
		return p.aggregate(ctx, page, size, from)
	}
	count := 0
	for ord, t := range p.rows(from.at, wide(p.source.Len())) {
		if count++; count%checkEvery == 0 && ctx.Err() != nil {
			return Page{}, context.Cause(ctx)
		}
		if !p.query.keeps(record{twin: t}) {
			continue
		}
		if p.query.top > 0 && from.given == uint64(p.query.top) {
			break
		}
		if len(page.Items) == size {
			page.Continuation = p.query.encode(position{uint64(ord), from.given}, size)
			break
		}
		page.Items = append(page.Items, p.query.render(t))
		from.given++
	}
	return page, nil
}

// rows walks through the twins that the access finds, in the order of their numbers. Ranges that have
// more than most twins are not read.
func (p *Plan) rows(from uint64, most int) iter.Seq2[uint32, *twin.Twin] {
	return func(yield func(uint32, *twin.Twin) bool) {
		limit := p.source.Max()
		if from >= uint64(limit) {
			return
		}
		var found finding
		if p.access != nil {
			found = p.access.find(most)
		}
		if found == nil {
			for ord := uint32(from); ord < limit; ord++ {
				if t := p.source.At(ord); t != nil && !yield(ord, t) {
					return
				}
			}
			return
		}
		if found.size() == 0 {
			return
		}
		for low := from; low < uint64(limit); low = low/windowSize*windowSize + windowSize {
			window := roaring.New()
			window.AddRange(low, low/windowSize*windowSize+windowSize)
			for it := found.within(window).Iterator(); it.HasNext(); {
				ord := it.Next()
				if t := p.source.At(ord); t != nil && !yield(ord, t) {
					return
				}
			}
		}
	}
}

// all walks through all twins that the condition keeps.
func (p *Plan) all() iter.Seq2[uint32, *twin.Twin] {
	return func(yield func(uint32, *twin.Twin) bool) {
		// Every twin that is kept is looked at anyhow: an index helps as long as it leaves out most.
		for ord, t := range p.rows(0, max(wide(p.source.Len()), p.source.Len()/4)) {
			if p.query.keeps(record{twin: t}) && !yield(ord, t) {
				return
			}
		}
	}
}

// usualTwin is the room in bytes for a whole twin in a result; larger ones grow.
const usualTwin = 2 << 10

// render writes a row as the select list wants it. Missing values are left out.
func (q *Query) render(t *twin.Twin) []byte {
	if q.items == nil {
		return t.AppendJSON(make([]byte, 0, usualTwin))
	}
	members := make([]twin.Member, 0, len(q.items))
	for _, it := range q.items {
		if v := t.Field(it.path...); v.IsDefined() {
			members = append(members, twin.Member{Key: it.label(0), Value: v})
		}
	}
	return twin.ObjectValue(members...).AppendJSON(nil)
}

// label is the name of an element in the result: its alias, or the last part of its path. An
// aggregate without alias is numbered.
func (it item) label(i int) string {
	switch {
	case it.name != "":
		return it.name
	case it.aggregate != "":
		return "$" + strconv.Itoa(i+1)
	default:
		return it.path[len(it.path)-1]
	}
}

// Matches walks through all twins that the condition keeps, in the order of their numbers.
func (p *Plan) Matches() iter.Seq2[uint32, *twin.Twin] { return p.all() }
