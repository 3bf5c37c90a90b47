// Package backend is the service side of a run: what its scenario has the worker do, and where the news of devices goes.
package backend

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/internal/backend/auditor"
	"github.com/twinfleet/twinfleet/internal/backend/jobruns"
	"github.com/twinfleet/twinfleet/internal/backend/loads"
	"github.com/twinfleet/twinfleet/internal/backend/rollouts"
	"github.com/twinfleet/twinfleet/internal/backend/side"
	"github.com/twinfleet/twinfleet/internal/backend/steps"
	"github.com/twinfleet/twinfleet/internal/iothub/query/parse"
	"github.com/twinfleet/twinfleet/internal/worker/freshness/known"
	"github.com/twinfleet/twinfleet/internal/worker/queries"
	"github.com/twinfleet/twinfleet/internal/worker/rows"
	"github.com/twinfleet/twinfleet/internal/worker/tag"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/scenario"
)

// Backend is the worker of a run. Its parts that the scenario does not ask for are nil.
type Backend struct {
	*steps.Steps

	queries  []queries.Query
	audit    *auditor.Auditor
	rollouts *rollouts.Rollouts
}

// New makes a Backend; nothing of it runs yet.
func New(s side.Side) (*Backend, error) {
	b := &Backend{}
	b.Steps = &steps.Steps{Side: &s, Tagging: b.tag}
	if !s.Target.Can.Service {
		return b, nil
	}
	var err error
	if b.queries, err = b.scheduled(); err != nil {
		return nil, err
	}
	b.rollouts = rollouts.New(b.Side)
	if s.Scenario.Service.Freshness != nil {
		b.audit, err = auditor.New(b.Side, b.queries, b.setsTag)
	}
	return b, err
}

// Run does what the scenario wants of the service side, until ctx ends. The error says what failed the run.
func (b *Backend) Run(ctx context.Context) (err error) {
	if !b.Target.Can.Service {
		return nil
	}
	var all sync.WaitGroup
	all.Go(func() { err = b.runService(ctx) })
	if b.audit != nil {
		all.Go(func() { b.audit.Run(ctx) })
	}
	all.Go(func() { b.rollouts.Run(ctx) })
	all.Go(func() { jobruns.Run(ctx, b.Side, b.tagsUnknown) })
	all.Go(func() { loads.Run(ctx, b.Side) })
	all.Wait()
	return err
}

// runService tags, then queries until ctx ends.
func (b *Backend) runService(ctx context.Context) error {
	before := b.taggedBefore()
	if ctx.Err() != nil {
		return nil
	}
	if _, _, err := b.Statistics(ctx, &scenario.StatisticsStep{Expect: -1}); err != nil && ctx.Err() == nil {
		b.Ledger.Tell(report.Event{Kind: report.KindWarning, Text: "reading the registry statistics failed", Detail: err.Error()})
	}
	for i := range b.Scenario.Fleet.Groups {
		g := &b.Scenario.Fleet.Groups[i]
		tags, ok := b.Scenario.Service.Tags[g.Name]
		if !ok {
			continue
		}
		if before[g.Name] == done {
			if slices.ContainsFunc(b.Scenario.Service.Jobs, func(j scenario.Job) bool { return j.Tags != nil }) {
				b.tagsUnknown() // it may have written others since
				continue
			}
			if err := b.knowTags(g, tags, func() error { return nil }); err != nil {
				return err
			}
			continue
		}
		err := b.tag(ctx, g, tags)
		switch {
		case ctx.Err() == nil:
		case before[g.Name] == perhaps: // it may be that they were, before this process led the run
			return nil
		case b.Before > 0:
			b.Ledger.Note("the run ended before all devices of %s were tagged, as far as is known", g.Name)
			return nil
		default:
			b.Ledger.Note("the run ended before all devices of %s were tagged", g.Name)
			return nil
		}
		if err != nil {
			b.Fail(err)
			return err
		}
	}
	return b.runQueries(ctx)
}

// progress is what is known of tags that processes wrote which led the run before this one.
type progress int

const (
	missing progress = iota // none of them had tagged all devices, as far as is known
	perhaps                 // it may be that one had
	done                    // one had
)

// taggedBefore is what is known of the tags of each group that were written before this process led the run, by the calls that the Recorder knows of.
// Processes tagged the same devices; of calls that may be of a step nothing is known.
func (b *Backend) taggedBefore() map[string]progress {
	all := make(map[string]progress)
	if b.Before == 0 {
		return all
	}
	was := b.Recorder.Snapshot()
	for i := range b.Scenario.Fleet.Groups {
		g := &b.Scenario.Fleet.Groups[i]
		calls, made := b.tagger().Calls(g.Count), 0
		if x := was.Find(metrics.OpTag, g.Name); x != nil {
			made = int(x.Count(metrics.OK))
		}
		steps := slices.ContainsFunc(b.Scenario.Stages, func(t scenario.Stage) bool {
			return slices.ContainsFunc(t.Steps, func(x scenario.Step) bool { return x.Tag != nil && x.Tag.Group == g.Name })
		})
		switch {
		case made < calls:
		case !steps && made > b.Before*(calls-1): // more than they could have made if each had left one out
			all[g.Name] = done
		default:
			all[g.Name] = perhaps
		}
	}
	return all
}

func (b *Backend) tagger() *tag.Tagger {
	return &tag.Tagger{
		Twins: b.Target.Service, Registry: b.Target.Service, Recorder: b.Recorder,
		Mode: tag.Mode(b.Scenario.Service.TagMode), Concurrency: b.Scenario.Service.TagConcurrency,
	}
}

func (b *Backend) tag(ctx context.Context, g *scenario.Group, tags []byte) error {
	t := b.tagger()
	ids := b.Identities.Of(g)
	return b.knowTags(g, tags, func() error {
		return t.Tag(ctx, g.Name, ids, tags, func(done int) {
			b.Ledger.Tell(report.Event{Kind: report.KindTagging, OK: true, Text: "devices of " + g.Name + " tagged", Done: done, Total: len(ids)})
		})
	})
}

// knowTags has tags written, which the audit, where there is one, knows from then on.
func (b *Backend) knowTags(g *scenario.Group, tags []byte, write func() error) error {
	if b.audit == nil {
		return write()
	}
	return b.audit.Tag(g, tags, write)
}

// tagsUnknown tells the audit that somebody else writes tags.
func (b *Backend) tagsUnknown() {
	if b.audit != nil {
		b.audit.TagsUnknown()
	}
}

// OnDesired hands on that desired properties reached a device.
func (b *Backend) OnDesired(u fleet.DesiredUpdate) {
	b.Steps.OnDesired(u)
	if b.rollouts != nil {
		b.rollouts.Told(u)
	}
}

// OnReporting tells the audit that a device is about to report.
func (b *Backend) OnReporting(index int, sent time.Time) {
	if b.audit != nil {
		b.audit.Sending(index, sent)
	}
}

// OnReported tells audit and rollouts of an acknowledged report.
func (b *Backend) OnReported(r fleet.Report) {
	if b.audit != nil {
		b.audit.Acked(r.Index, known.Report{Connectivity: r.Connectivity, Version: r.Version, Sent: r.Sent, Acked: r.Acked})
	}
	if r.Answered > 0 && b.rollouts != nil {
		b.rollouts.Answered(r.Index, r.Answered, r.Acked)
	}
}

// Known says that all is known of what devices did until a time, give or take a margin, where that is told late.
func (b *Backend) Known(until time.Time, margin time.Duration) {
	if b.audit != nil {
		b.audit.Known(until, margin)
	}
}

// Missed notes that devices may have done what nobody tells: who ran them, or was told of it, is gone.
func (b *Backend) Missed() {
	if b.audit != nil {
		b.audit.Missed()
	}
}

// Follows reports whether what a device reports must be told: of the others only which desired properties they answered.
func (b *Backend) Follows(index int) bool { return b.audit != nil && b.audit.Follows(index) }

// runQueries runs the scheduled queries until ctx ends.
func (b *Backend) runQueries(ctx context.Context) error {
	runner := &queries.Runner{Service: side.Querier(b.Target.Paced), Recorder: b.Recorder, Queries: b.queries}
	if b.audit != nil {
		runner.Watch = b.audit.Watch
	}
	return runner.Run(ctx)
}

// scheduled are the scheduled queries. Their phases are spread, so that they do not beat in step.
func (b *Backend) scheduled() ([]queries.Query, error) {
	var out []queries.Query
	for i := range b.Scenario.Service.Queries {
		q := &b.Scenario.Service.Queries[i]
		shown := rows.Of(q.SQL, b.setsTag)
		if parsed, err := parse.Query(q.SQL); err == nil && !parsed.PerDevice() {
			b.Ledger.Write(func(r *report.Run) { r.Rows = append(r.Rows, q.Name) })
		}
		next := queries.Query{
			Name: q.Name, SQL: q.SQL, PageSize: q.PageSize, Timeout: q.Timeout, Cron: q.Cron, Rows: shown,
			Every:  b.Scenario.Service.QueryTimes(i),
			Active: b.Gate.Active(q.Stages),
		}
		if q.Expect != nil {
			next.Expect = q.Expect.Met
		}
		out = append(out, next)
	}
	return out, nil
}

// setsTag reports whether the scenario gives some group a tag at a path.
func (b *Backend) setsTag(path []string) bool {
	has := func(doc json.RawMessage) bool {
		for _, name := range path {
			var members map[string]json.RawMessage
			if json.Unmarshal(doc, &members) != nil || members[name] == nil {
				return false
			}
			doc = members[name]
		}
		return true
	}
	for _, doc := range b.Scenario.Service.Tags {
		if has(doc) {
			return true
		}
	}
	return slices.ContainsFunc(b.Scenario.Stages, func(t scenario.Stage) bool {
		return slices.ContainsFunc(t.Steps, func(x scenario.Step) bool { return x.Tag != nil && has(x.Tag.Tags) })
	})
}

// Rollouts is what became of the rollouts until now.
func (b *Backend) Rollouts() []report.Wave {
	if b.rollouts == nil {
		return nil
	}
	return b.rollouts.Progress()
}

// EndAudit ends the freshness audit, where there is one: see auditor.Auditor.End.
func (b *Backend) EndAudit(ctx context.Context, devices auditor.Devices, whole bool) error {
	if b.audit == nil {
		return nil
	}
	return b.audit.End(ctx, devices, whole)
}
