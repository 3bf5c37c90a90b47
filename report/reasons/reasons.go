// Package reasons says why operations of a run ended badly: by operation, group and stage, and all together.
package reasons

import (
	"cmp"
	"slices"
	"strings"
	"unicode"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
)

// Line is one reason why operations ended badly, for people: 1,234 twin_report throttled: status 429.
type Line struct {
	metrics.ErrorCount        // what was counted
	Text               string // operation, outcome and reason, on one line
}

// Lines are the reasons in a snapshot, the ones that came last first.
func Lines(s *metrics.Snapshot) []Line {
	lines := make([]Line, 0, len(s.Errors))
	for _, e := range s.Errors {
		text := reasonText(e)
		if e.Outcome != metrics.LostConnection {
			text = string(e.Operation) + " " + text
		}
		lines = append(lines, Line{e, text})
	}
	slices.SortStableFunc(lines, func(a, b Line) int { return b.Last.Compare(a.Last) })
	return lines
}

// reasonText is an outcome with its reason.
func reasonText(e metrics.ErrorCount) string {
	switch e.Outcome {
	case e.Reason:
		return e.Outcome
	case metrics.LostConnection:
		return "connection lost: " + oneLine(e.Reason)
	}
	return e.Outcome + ": " + oneLine(e.Reason)
}

// oneLine takes from a text what would move a terminal's cursor: some reasons are the target's words.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
}

// Part is how often operations of one kind, group and stage ended badly for one reason.
type Part struct {
	Stage              string // empty when the record does not split by stage
	metrics.ErrorCount        // what was counted
}

// Text is the outcome with its reason.
func (e Part) Text() string { return reasonText(e.ErrorCount) }

// Parts are all reasons of a run, split by operation, group and stage, the most frequent first. Old records have
// less to split by.
func Parts(r *report.Run) []Part {
	var all []Part
	left := slices.Clone(r.Totals.Errors)
	take := func(stage string, s *metrics.Snapshot) {
		for i := range s.Series {
			for _, e := range s.Series[i].Reasons {
				all = append(all, Part{stage, e})
				for k := range left {
					if x := &left[k]; x.Operation == e.Operation && x.Outcome == e.Outcome && x.Reason == e.Reason {
						x.Count -= min(x.Count, e.Count)
					}
				}
			}
		}
	}
	for _, t := range r.Stages {
		if t.Totals != nil {
			take(t.Name, t.Totals)
		}
	}
	if len(all) == 0 {
		take("", r.Totals)
	}
	for _, e := range left {
		if e.Count > 0 {
			all = append(all, Part{"", e})
		}
	}
	slices.SortStableFunc(all, func(a, b Part) int { return cmp.Compare(b.Count, a.Count) })
	return all
}

// Reason is one outcome and reason with where it was met: in which operations, groups and stages.
type Reason struct {
	Text  string // the outcome with its reason, on one line
	Count uint64 // operations that ended so

	operations, groups, stages Shares
}

// Where lists the operations, and the groups and stages where there is more than one.
func (x Reason) Where() string {
	parts := []string{listed(x.operations)}
	for _, s := range []Shares{x.groups, x.stages} {
		if len(s) > 0 {
			parts = append(parts, listed(s))
		}
	}
	return strings.Join(parts, " · ")
}

func listed(s Shares) string { return s.Text(3, func(int) string { return "…" }) }

// Of gives the reasons why operations of a run ended badly, the most frequent first.
func Of(r *report.Run) []Reason {
	var all []Reason
	groups, stages := r.GroupNames(), len(r.Stages) > 1
	for _, e := range Parts(r) {
		i := slices.IndexFunc(all, func(x Reason) bool { return x.Text == e.Text() })
		if i < 0 {
			i, all = len(all), append(all, Reason{Text: e.Text()})
		}
		x := &all[i]
		x.Count += e.Count
		x.operations.Add(string(e.Operation), e.Count)
		if len(groups) > 1 && e.Operation != metrics.OpQuery && slices.Contains(groups, metrics.GroupOf(e.Group)) {
			x.groups.Add(e.Group, e.Count)
		}
		if stages {
			x.stages.Add(e.Stage, e.Count)
		}
	}
	slices.SortStableFunc(all, func(a, b Reason) int { return cmp.Compare(b.Count, a.Count) })
	return all
}
