package query

import (
	"context"
	"iter"
	"strconv"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
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
	var room []byte
	count := 0
	for ord, t := range p.rows(from.at, false) {
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
		if cap(room)-len(room) < usualTwin {
			room = make([]byte, 0, roomSize)
		}
		start := len(room)
		room = p.query.appendRow(room, t)
		page.Items = append(page.Items, room[start:len(room):len(room)])
		from.given++
	}
	return page, nil
}

// find asks the indexes; nil means to look at all twins. All says that all that is found will be looked at.
func (p *Plan) find(all bool) finding {
	if p.access == nil {
		return nil
	}
	return p.access.find(search{p.source.Len(), all})
}

// rows walks through the twins that the indexes find, in the order of their numbers.
func (p *Plan) rows(from uint64, all bool) iter.Seq2[uint32, *twin.Twin] {
	return p.between(p.find(all), from, uint64(p.source.Max()))
}

// between walks through the twins of a finding, or through all without one, from a number to below another.
func (p *Plan) between(found finding, from, to uint64) iter.Seq2[uint32, *twin.Twin] {
	return func(yield func(uint32, *twin.Twin) bool) {
		if found == nil {
			for ord := from; ord < to; ord++ {
				if t := p.source.At(uint32(ord)); t != nil && !yield(uint32(ord), t) {
					return
				}
			}
			return
		}
		if found.size() == 0 {
			return
		}
		for low := from; low < to; low = low/windowSize*windowSize + windowSize {
			window := roaring.New()
			window.AddRange(low, min(to, low/windowSize*windowSize+windowSize))
			for it := found.within(window).Iterator(); it.HasNext(); {
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
	if q.items == nil {
		return t.AppendJSON(dst)
	}
	members := make([]jsonvalue.Member, 0, len(q.items))
	for _, it := range q.items {
		if v := t.Field(it.path...); v.IsDefined() {
			members = append(members, jsonvalue.Member{Key: it.label(0), Value: v})
		}
	}
	return jsonvalue.ObjectValue(members...).AppendJSON(dst)
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
func (p *Plan) Matches() iter.Seq2[uint32, *twin.Twin] {
	return func(yield func(uint32, *twin.Twin) bool) {
		for ord, t := range p.rows(0, true) {
			if p.query.keeps(record{twin: t}) && !yield(ord, t) {
				return
			}
		}
	}
}
