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

// RunJobs answers one page of a query on devices.jobs. Rows gives the rows from a position on, in the order of their
// positions: a row keeps its own.
func (q *Query) RunJobs(ctx context.Context, rows func(from uint64) iter.Seq2[uint64, JobRow], size int, continuation string) (paging.Page, error) {
	from, err := paging.Decode(q.Text, continuation)
	if err != nil {
		return paging.Page{}, err
	}
	page := paging.Page{ItemType: paging.ItemJob, Items: [][]byte{}}
	count := 0
	for at, row := range rows(from.At) {
		if count++; count%checkEvery == 0 && ctx.Err() != nil {
			return paging.Page{}, context.Cause(ctx)
		}
		if !q.keeps(eval.Record{Row: row.Value}) {
			continue
		}
		if q.Top > 0 && from.Given == uint64(q.Top) {
			break
		}
		if len(page.Items) == size {
			page.Continuation = paging.Encode(q.Text, paging.Position{At: at, Given: from.Given})
			break
		}
		page.Items = append(page.Items, row.Value.AppendJSON(nil))
		from.Given++
	}
	return page, nil
}
