package backend

import (
	"context"
	"encoding/json"

	"github.com/twinfleet/twinfleet/internal/iothub/service"
	"github.com/twinfleet/twinfleet/internal/worker/queries"
)

// querier begins queries with a client of the service side.
type querier struct{ *service.Client }

// Query begins a query.
func (q querier) Query(sql string, pageSize int) queries.Pager {
	return pager{q.Client.Query(sql, pageSize)}
}

type pager struct{ *service.Pager }

func (p pager) Next(ctx context.Context) ([]json.RawMessage, error) {
	page, err := p.Pager.Next(ctx)
	return page.Items, err
}
