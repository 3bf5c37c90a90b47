package query

import (
	"context"
	"iter"

	"github.com/twinfleet/twinfleet/internal/iothub/twin"
)

// JobRow is one device of a job, as devices.jobs lists it.
type JobRow struct{ Value twin.Value }

// Field finds a member of the row.
func (r JobRow) Field(path ...string) twin.Value { return r.Value.Path(path...) }

// RunJobs answers one page of a query on devices.jobs.
func (q *Query) RunJobs(ctx context.Context, rows iter.Seq[JobRow], size int, continuation string) (Page, error) {
	from, err := q.decode(continuation, size)
	if err != nil {
		return Page{}, err
	}
	page := Page{ItemType: ItemJob, Items: [][]byte{}}
	keep := evaluator(func(record) twin.Value { return twin.BoolValue(true) })
	if q.where != nil {
		keep = compile(q.where)
	}
	at := uint64(0)
	for row := range rows {
		if at++; at <= from.at || !isBool(keep(row), true) {
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
