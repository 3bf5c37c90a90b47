package several

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/twinfleet/twinfleet/internal/iothub/query/parse"
	"github.com/twinfleet/twinfleet/internal/iothub/query/tree"
	"github.com/twinfleet/twinfleet/internal/iothub/service"
)

// ErrNotOne is returned for a query whose answers of several hubs do not make one answer: its text names what of it.
var ErrNotOne = errors.New("the answers of several hubs do not add up to one")

// Query prepares a query of all hubs. The pages of the first come before those of the second: there are as many as the hubs have together, with
// all rows. A query that only counts has one page, with the sums of all hubs' counts. Others that sum up end in ErrNotOne; what cannot be
// parsed is left to the hubs to judge.
func (h *Hubs) Query(sql string, pageSize int) service.Pages {
	q, err := parse.Query(sql)
	if err != nil {
		return &inTurn{of: h.of, sql: sql, size: pageSize}
	}
	switch sum, why := q.OverParts(); {
	case why != "":
		return &failed{fmt.Errorf("%w: %s", ErrNotOne, why)}
	case sum:
		return &summed{of: h.of, sql: sql, size: pageSize, query: q}
	}
	return &inTurn{of: h.of, sql: sql, size: pageSize}
}

// failed are no pages.
type failed struct{ err error }

func (p *failed) More() bool                                 { return p.err != nil }
func (p *failed) Next(context.Context) (service.Page, error) { return service.Page{}, p.err }

// inTurn are the pages of one hub after those of the other.
type inTurn struct {
	of   []Service // those of which pages are left
	sql  string
	size int
	now  service.Pages // of the first of them; nil before its first page
}

func (p *inTurn) More() bool { return len(p.of) > 0 }

func (p *inTurn) Next(ctx context.Context) (service.Page, error) {
	if p.now == nil {
		p.now = p.of[0].Query(p.sql, p.size)
	}
	page, err := p.now.Next(ctx)
	if err == nil && !p.now.More() {
		p.of, p.now = p.of[1:], nil
	}
	return page, err
}

// summed is the one page of a query that counts.
type summed struct {
	of    []Service
	sql   string
	size  int
	query *tree.Query
	done  bool
}

func (p *summed) More() bool { return !p.done }

func (p *summed) Next(ctx context.Context) (service.Page, error) {
	parts, err := ask(p.of, func(_ int, hub Service) (page service.Page, err error) {
		for pages := hub.Query(p.sql, p.size); pages.More(); {
			next, err := pages.Next(ctx)
			if err != nil {
				return page, err
			}
			page.Items, page.ItemType = append(page.Items, next.Items...), next.ItemType
		}
		return page, nil
	})
	if err != nil {
		return service.Page{}, err
	}
	sums, rows := make(map[string]int64, len(p.query.Items)), 0
	for _, part := range parts {
		rows += len(part.Items)
		for _, item := range part.Items {
			var counts map[string]int64
			if err := json.Unmarshal(item, &counts); err != nil {
				return service.Page{}, fmt.Errorf("counting over several hubs: %w", err)
			}
			for name, n := range counts {
				sums[name] += n
			}
		}
	}
	p.done = true
	out := service.Page{ItemType: parts[0].ItemType}
	if rows > 0 {
		row, err := json.Marshal(sums)
		if err != nil {
			return service.Page{}, fmt.Errorf("counting over several hubs: %w", err)
		}
		out.Items = []json.RawMessage{row}
	}
	return out, nil
}
