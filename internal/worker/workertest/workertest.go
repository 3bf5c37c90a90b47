// Package workertest is service sides and devices for tests of the worker.
package workertest

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/wait"
	"github.com/twinfleet/twinfleet/internal/worker/pace"
	"github.com/twinfleet/twinfleet/internal/worker/queries"
)

// IDs are the ids of n devices: dev-0 and so on.
func IDs(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprint("dev-", i)
	}
	return out
}

// Windows gives windows, one after the other: each at a time after now, of a length. They end with ctx.
func Windows(ctx context.Context, spans ...[2]time.Duration) pace.Windows {
	began, next := time.Now(), 0
	return func(until context.Context) (pace.Window, error) {
		if next == len(spans) {
			<-until.Done()
			return pace.Window{}, context.Cause(until)
		}
		s := spans[next]
		next++
		if err := wait.For(until, time.Until(began.Add(s[0]))); err != nil {
			return pace.Window{}, err
		}
		end, cancel := context.WithDeadline(ctx, began.Add(s[0]+s[1]))
		context.AfterFunc(end, cancel)
		return pace.Window{Start: began.Add(s[0]), Length: s[1], Context: end}, nil
	}
}

// Pager serves pages of queries: each takes a time, and is the next of Pages until there are none.
type Pager struct {
	Takes time.Duration       // each page
	Pages [][]json.RawMessage // in order
	Err   error               // of every page
}

// More reports whether there is a further page.
func (p *Pager) More() bool { return len(p.Pages) > 0 }

// Next serves it.
func (p *Pager) Next(ctx context.Context) ([]json.RawMessage, error) {
	items := p.Pages[0]
	p.Pages = p.Pages[1:]
	if err := wait.For(ctx, p.Takes); err != nil {
		return nil, err
	}
	return items, p.Err
}

// Slow is a service whose queries take their time, and give ten items a page.
type Slow struct {
	Takes time.Duration // each page
	Pages int           // a query
}

// Query begins a query.
func (s Slow) Query(string, int) queries.Pager {
	p := &Pager{Takes: s.Takes}
	for range s.Pages {
		p.Pages = append(p.Pages, make([]json.RawMessage, 10))
	}
	return p
}

// Rows is a service that answers a query which names devices with their rows.
type Rows struct {
	ByID map[string]string // row of a device; none for those that no query shows
	Err  error             // of every query
}

// Query begins a query.
func (r *Rows) Query(sql string, _ int) queries.Pager {
	var items []json.RawMessage
	for id, row := range r.ByID {
		if strings.Contains(sql, "'"+id+"'") {
			items = append(items, json.RawMessage(row))
		}
	}
	return &Pager{Pages: [][]json.RawMessage{items}, Err: r.Err}
}

// Twins serves twins by their ids.
type Twins map[string]string

// Twin reads one twin.
func (t Twins) Twin(_ context.Context, id string) (json.RawMessage, error) {
	if doc, ok := t[id]; ok {
		return json.RawMessage(doc), nil
	}
	return nil, iothub.ErrDeviceNotFound
}
