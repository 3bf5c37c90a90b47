package query

import (
	"context"
	"encoding/base64"
	be "encoding/binary"
	"errors"
	"hash/fnv"
	"iter"
	"strconv"

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

// ErrContinuation is returned for a continuation that another query, or nobody, gave.
var ErrContinuation = errors.New("the continuation token does not belong to this query and page size")

// checkEvery is how many rows pass between looks at the context.
const checkEvery = 4096

// position is where the next page begins: at the row with a number, after so many items.
type position struct{ at, given uint64 }

func (q *Query) fingerprint(size int) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(q.text))
	_, _ = h.Write(strconv.AppendInt([]byte{0}, int64(size), 10))
	return h.Sum64()
}

func (q *Query) encode(p position, size int) string {
	b := be.BigEndian.AppendUint64(nil, q.fingerprint(size))
	b = be.BigEndian.AppendUint64(b, p.at)
	b = be.BigEndian.AppendUint64(b, p.given)
	return base64.RawURLEncoding.EncodeToString(b)
}

func (q *Query) decode(token string, size int) (position, error) {
	if token == "" {
		return position{}, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(b) != 24 || be.BigEndian.Uint64(b) != q.fingerprint(size) {
		return position{}, ErrContinuation
	}
	return position{be.BigEndian.Uint64(b[8:]), be.BigEndian.Uint64(b[16:])}, nil
}

// Run answers one page of at most size items. The continuation is empty for the first page. It
// returns ErrContinuation, or the cause of ctx.
func (p *Plan) Run(ctx context.Context, size int, continuation string) (Page, error) {
	from, err := p.query.decode(continuation, size)
	if err != nil {
		return Page{}, err
	}
	page := Page{ItemType: ItemTwin, Items: [][]byte{}}
	if p.query.Raw() {
		page.ItemType = ItemRaw
	}
	if p.query.from == Modules {
		return page, nil
	}
	if p.query.aggregates() {
		return p.aggregate(ctx, page, size, from)
	}
	count := 0
	for ord, t := range p.rows(from.at) {
		if count++; count%checkEvery == 0 && ctx.Err() != nil {
			return Page{}, context.Cause(ctx)
		}
		if p.keep != nil && !isBool(p.keep(t), true) {
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

// rows walks through the twins that the access finds, in the order of their numbers.
func (p *Plan) rows(from uint64) iter.Seq2[uint32, *twin.Twin] {
	return func(yield func(uint32, *twin.Twin) bool) {
		limit := p.source.Max()
		if from >= uint64(limit) {
			return
		}
		if p.access == nil {
			for ord := uint32(from); ord < limit; ord++ {
				if t := p.source.At(ord); t != nil && !yield(ord, t) {
					return
				}
			}
			return
		}
		found := p.access.find()
		if found == nil {
			return
		}
		it := found.Iterator()
		it.AdvanceIfNeeded(uint32(from))
		for it.HasNext() {
			ord := it.Next()
			if t := p.source.At(ord); t != nil && !yield(ord, t) {
				return
			}
		}
	}
}

// render writes a row as the select list wants it. Missing values are left out.
func (q *Query) render(t *twin.Twin) []byte {
	if q.items == nil {
		return t.AppendJSON(nil)
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

// Matches walks through all twins that the condition keeps.
func (p *Plan) Matches() iter.Seq2[uint32, *twin.Twin] {
	return func(yield func(uint32, *twin.Twin) bool) {
		for ord, t := range p.rows(0) {
			if (p.keep == nil || isBool(p.keep(t), true)) && !yield(ord, t) {
				return
			}
		}
	}
}
