package view

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/terminal/layout"
	"github.com/twinfleet/twinfleet/internal/terminal/paint"
	"github.com/twinfleet/twinfleet/internal/terminal/runstate"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/judge"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/human"
)

// standing is the sign and the colour of a threshold, and its place among others: what is missed first.
func standing(t *judge.State) (sign, code string, rank int) {
	switch {
	case t.Pending:
		return "…", paint.Faint, 2 // as one that is met: they stay in their order
	case t.CannotSay:
		return "?", paint.Yellow, 1
	case !t.Pass:
		return "✗", paint.Red, 0
	default:
		return "✓", paint.Green, 2
	}
}

// remark is what is to be said of a threshold beside its value.
func (v view) remark(t *judge.State) string {
	switch {
	case t.Pending && t.Observed == "not yet":
		return ""
	case t.Pending:
		return "not yet"
	case t.CannotSay:
		return "cannot say"
	case !t.Pass && !t.Since.IsZero():
		return "since " + human.Duration(v.RunTime(t.Since))
	case t.Over:
		return "final"
	default:
		return ""
	}
}

// observed is what a threshold compares, without the name of the figure, which stands in the threshold.
func observed(t *judge.State) string {
	if _, value, ok := strings.Cut(t.Observed, " = "); ok {
		return value
	}
	return t.Observed
}

// thresholds are what the run is judged by: those that are missed first.
func (v view) thresholds() layout.Section {
	out := layout.Section{Name: thresholds, Rank: 0, Least: 1, First: 4}
	if v.Standing() == nil {
		return out
	}
	all := v.Standing().Thresholds
	order := make([]int, len(all))
	var names, values, remarks []string
	for i := range all {
		order[i] = i
		names, values, remarks = append(names, all[i].Threshold), append(values, observed(&all[i])), append(remarks, v.remark(&all[i]))
	}
	slices.SortStableFunc(order, func(a, b int) int {
		_, _, x := standing(&all[a])
		_, _, y := standing(&all[b])
		return cmp.Compare(x, y)
	})
	remark := columnWidth(remarks, 0, 14)
	if v.width < 60 {
		remark = 0
	}
	value := columnWidth(values, 8, max(8, (v.width-remark)/3))
	name := columnWidth(names, 10, v.width-3-2-value-2-remark)
	if v.height >= 30 {
		out.Head = v.heading("thresholds", name+2, "  observed")
	}
	for _, i := range order {
		t := &all[i]
		sign, code, rank := standing(t)
		text := " " + v.Paint(code, sign) + " " + paint.Fit(paint.Clean(t.Threshold), name) + "  " + v.Paint(code, paint.Fit(paint.Clean(values[i]), value))
		if remark > 0 {
			text += "  " + v.Paint(paint.Faint, paint.Fit(remarks[i], remark))
		}
		if rank < 2 { // before anything else is seen, up to three of them
			out.Least = min(3, max(out.Least, len(out.Rows)+1))
		}
		out.Rows = append(out.Rows, layout.Row{Key: t.Threshold, Text: paint.Cut(text, v.width), Trouble: rank < 2})
	}
	return v.picked(out)
}

// rollouts are the waves that began, the last one first: it is the one that runs.
func (v view) rollouts() layout.Section {
	out := layout.Section{Name: rollouts, Rank: 2, Least: 1, First: 3}
	if v.Standing() == nil {
		return out
	}
	out.Head = v.heading("rollouts", 20, "")
	waves := v.Standing().Rollouts
	var names []string
	for _, w := range waves {
		names = append(names, waveName(w))
	}
	name := columnWidth(names, 8, v.width/3)
	for i, w := range slices.Backward(waves) {
		sign, code := "✓", paint.Green
		switch {
		case w.Stopped || w.Failed > 0:
			sign, code = "✗", paint.Red
		case w.Running:
			sign, code = "▸", paint.Cyan
		}
		figures := fmt.Sprintf("%s of %s answered, %s told", human.Count(w.Answered), human.Count(w.Devices), human.Count(w.Told))
		if w.Answered == 0 && w.Told > 0 { // they are not asked to
			figures = fmt.Sprintf("%s of %s told", human.Count(w.Told), human.Count(w.Devices))
		}
		if w.Failed > 0 {
			figures += ", " + human.Count(w.Failed) + " failed"
		}
		figures += ", " + human.Duration(w.Took.Round(time.Second/10))
		reached := w.Answered
		if reached == 0 {
			reached = w.Told
		}
		bar := min(30, v.width-3-name-2-1-columnWidth([]string{figures}, 0, v.width)-2)
		text := " " + v.Paint(code, sign) + " " + paint.Fit(names[i], name) + "  "
		if bar >= 8 {
			text += v.Bar(float64(reached)/float64(max(1, w.Devices)), bar) + "  "
		}
		out.Rows = append(out.Rows, layout.Row{Key: names[i], Text: paint.Cut(text+v.alarm(paint.Red, uint64(max(0, w.Failed)), figures), v.width), Trouble: sign == "✗"})
	}
	return v.picked(out)
}

// waveName is a wave in a few words.
func waveName(w report.Wave) string {
	return fmt.Sprintf("%s %d/%d to %d %%", paint.Clean(w.Rollout), w.Number, w.Of, w.Percent)
}

// failures are the reasons why operations ended badly: those that go on first.
func (v view) failures() layout.Section {
	out := layout.Section{Name: failures, Head: v.heading("why operations ended badly", 31, ""), Rank: 2, Least: 2, First: 3}
	for _, r := range v.Reasons() {
		code := paint.Red
		if r.Outcome == metrics.Throttled.String() {
			code = paint.Yellow
		}
		text := paint.Right(human.Count(r.Count), countWidth) + "  " + reasonText(r)
		if where := v.where(r, 2); where != "" {
			text += " · " + where
		}
		ago := ago(v.Figures().At.Sub(r.Last))
		width := 10
		out.Rows = append(out.Rows, layout.Row{
			Key:     string(r.Operation) + r.Outcome + r.Reason,
			Text:    " " + v.Paint(code, paint.Fit(text, v.width-2-width)) + paint.Right(ago, width),
			Trouble: r.Lately > 0,
		})
	}
	return v.picked(out)
}

// reasonText is an operation, its outcome and the reason, on one line.
func reasonText(r runstate.Reason) string {
	text := string(r.Operation) + " " + r.Outcome
	if r.Outcome == metrics.LostConnection {
		text = "connection lost"
	}
	if r.Reason != r.Outcome {
		text += ": " + paint.Clean(r.Reason)
	}
	return text
}

// where is the groups, or queries, of a reason with their counts, so many at most; empty when there is only one to name.
func (v view) where(r runstate.Reason, most int) string {
	if len(v.Groups) < 2 && r.Operation != metrics.OpQuery {
		return ""
	}
	if len(r.Groups) == 1 {
		return paint.Clean(r.Groups[0].Group)
	}
	var parts []string
	for i, g := range r.Groups {
		if i == most {
			parts = append(parts, fmt.Sprintf("%d more", len(r.Groups)-most))
			break
		}
		parts = append(parts, paint.Clean(g.Group)+" "+human.Count(g.Count))
	}
	return strings.Join(parts, ", ")
}

// ago is how long something is past, in a few letters.
func ago(d time.Duration) string {
	switch {
	case d < time.Second:
		return "now"
	case d < time.Minute:
		return fmt.Sprintf("%ds ago", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm ago", int(d.Minutes()))
	default:
		return fmt.Sprintf("%dh ago", int(d.Hours()))
	}
}

// events is what happened, the latest at the bottom.
func (v view) events() layout.Section {
	out := layout.Section{Name: events, Head: v.heading("events", 15, ""), Rank: 4, Least: 1, First: 3, Last: true}
	for _, e := range v.Events() {
		text, code := eventText(e)
		at := v.Paint(paint.Faint, paint.Right(human.Duration(e.At), 7))
		out.Rows = append(out.Rows, layout.Row{
			Key:     fmt.Sprint(e.At, e.Text, e.Detail),
			Text:    " " + at + "  " + v.Paint(code, paint.Cut(text, v.width-2-7-2)),
			Trouble: !e.OK,
		})
	}
	return v.picked(out)
}

// eventText is an event on one line, and its colour.
func eventText(e report.Event) (text, code string) {
	text = paint.Clean(e.Text)
	if e.Detail != "" {
		text += ": " + paint.Clean(e.Detail)
	}
	switch {
	case !e.OK && (e.Kind == report.KindStep || e.Kind == report.KindThreshold):
		return "✗ " + text, paint.Red
	case !e.OK:
		return "! " + text, paint.Yellow
	case e.Kind == report.KindStage:
		return "stage " + text, ""
	}
	return text, ""
}
