package query

import (
	"context"
	"iter"

	"github.com/twinfleet/twinfleet/internal/iothub/jsonvalue"
)

// JobRow is one device of a job, as devices.jobs lists it.
type JobRow struct{ Value jsonvalue.Value }

// RunJobs answers one page of a query on devices.jobs.
func (q *Query) RunJobs(ctx context.Context, rows iter.Seq[JobRow], size int, continuation string) (Page, error) {
	from, err := q.decode(continuation, size)
	if err != nil {
		return Page{}, err
	}
	page := Page{ItemType: ItemJob, Items: [][]byte{}}
	at := uint64(0)
	for row := range rows {
		if at++; at <= from.at || !q.keeps(record{row: row.Value}) {
			continue
		}
		if ctx.Err() != nil {
			return Page{}, context.Cause(ctx)
		}
		if q.top > 0 && from.given == uint64(q.top) {
			break
		}
		if len(page.Items) == size {
			page.Continuation = q.encode(position{at - 1, from.given}, size)
			break
		}
		page.Items = append(page.Items, row.Value.AppendJSON(nil))
		from.given++
	}
	return page, nil
}
