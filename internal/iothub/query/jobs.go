package query

import (
	"context"
	"iter"

	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
	"github.com/twinfleet/twinfleet/internal/iothub/query/eval"
	"github.com/twinfleet/twinfleet/internal/iothub/query/paging"
)

// JobRow is one device of a job, as devices.jobs lists it.
type JobRow struct {
	Value jsonvalue.Value // an object
}

// RunJobs answers one page of a query on devices.jobs.
func (q *Query) RunJobs(ctx context.Context, rows iter.Seq[JobRow], size int, continuation string) (paging.Page, error) {
	from, err := paging.Decode(q.Text, continuation)
	if err != nil {
		return paging.Page{}, err
	}
	page := paging.Page{ItemType: paging.ItemJob, Items: [][]byte{}}
	at := uint64(0)
	for row := range rows {
		if at++; at <= from.At || !q.keeps(eval.Record{Row: row.Value}) {
			continue
		}
		if ctx.Err() != nil {
			return paging.Page{}, context.Cause(ctx)
		}
		if q.Top > 0 && from.Given == uint64(q.Top) {
			break
		}
		if len(page.Items) == size {
			page.Continuation = paging.Encode(q.Text, paging.Position{At: at - 1, Given: from.Given})
			break
		}
		page.Items = append(page.Items, row.Value.AppendJSON(nil))
		from.Given++
	}
	return page, nil
}
