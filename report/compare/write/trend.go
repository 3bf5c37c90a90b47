package write

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/report/clean"
	"github.com/twinfleet/twinfleet/report/color"
	"github.com/twinfleet/twinfleet/report/compare"
	"github.com/twinfleet/twinfleet/report/compare/trend"
	"github.com/twinfleet/twinfleet/report/human"
)

// TrendText writes how figures went from run to run for people: those of which the last or another run is worse, or all of them.
func TrendText(w io.Writer, t *trend.Trend, style color.Style, all bool) error {
	b := &strings.Builder{}
	b.WriteString("\n")
	runs := [][]string{{"run", "started", "took", "outcome", "against the first"}}
	for i := range t.Runs {
		runs = append(runs, runCells(t, i))
	}
	for n, line := range human.Columns(runs, func(column int) bool { return column == 0 || column == 2 }) {
		line = "  " + line
		switch {
		case n == 0:
			line = style.Faint(line)
		case t.Runs[n-1].Answer() == compare.SomethingWorse:
			line = style.Bad(line)
		case t.Runs[n-1].Answer() == compare.CannotTell:
			line = style.Doubtful(line)
		}
		b.WriteString(line + "\n")
	}
	b.WriteString("\n")
	for _, warning := range trendWarnings(t) {
		fmt.Fprintf(b, "  %s %s\n", style.Warning(), strings.ReplaceAll(warning, "\n", "\n      "))
	}
	rows, figures := trendRows(t, all)
	for n, line := range human.Columns(rows, func(column int) bool { return column > 1 && column < 5 }) {
		if n == 0 {
			b.WriteString("\n")
			line = style.Faint(line)
		} else if f := figures[n-1]; f.Bad(len(t.Runs) - 1) {
			line = style.Bad(line)
		}
		b.WriteString("  " + line + "\n")
	}
	if len(t.Thresholds) > 0 {
		b.WriteString("\n")
	}
	for _, x := range t.Thresholds {
		marks := ""
		for _, o := range x.Outcomes {
			marks += resultMark(o)
		}
		fmt.Fprintf(b, "  %s  %s\n", marks, x.Text)
	}
	fmt.Fprintf(b, "\n  %s %s\n", answerMark(t.Answer(), style), t.Sentence())
	if every, _ := trendRows(t, true); len(rows) < len(every) {
		b.WriteString("    --all shows every figure\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func answerMark(a compare.Answer, style color.Style) string {
	switch a {
	case compare.SomethingWorse:
		return style.Mark(false)
	case compare.NothingWorse:
		return style.Mark(true)
	default:
		return style.Warning()
	}
}

// runCells are a run in the table of runs.
func runCells(t *trend.Trend, i int) []string {
	r := &t.Runs[i]
	return []string{fmt.Sprint(i + 1), r.Started.Format(time.DateTime), human.Duration(r.Duration()), r.Headline(), words(r.Answer())}
}

// words is an answer as tables have it.
func words(a compare.Answer) string {
	switch a {
	case compare.SomethingWorse:
		return "worse"
	case compare.NothingWorse:
		return "not worse"
	case compare.CannotTell:
		return "cannot tell"
	default:
		return "–"
	}
}

func resultMark(o trend.Result) string {
	switch {
	case !o.Known:
		return "·"
	case o.CannotSay:
		return "?"
	case o.Pass:
		return "✓"
	default:
		return "✗"
	}
}

// trendWarnings are what makes runs hard to compare with the first, each once with the runs that it is about. In what runs differ is told
// of the last of them alone: one run differs like the next, and which one it is matters more.
func trendWarnings(t *trend.Trend) []string {
	type group struct {
		text string // of the last of its runs
		runs []string
	}
	var keys []string
	groups := make(map[string]*group)
	for i := range t.Runs {
		for _, text := range t.Runs[i].Warnings() {
			key := text
			if head, _, ok := strings.Cut(text, ":"); ok && strings.HasSuffix(head, " differ") {
				key = head
			}
			g := groups[key]
			if g == nil {
				g = &group{}
				keys, groups[key] = append(keys, key), g
			}
			g.text, g.runs = strings.ReplaceAll(text, "the second run", "the later run"), append(g.runs, fmt.Sprint(i+1))
		}
	}
	lines := make([]string, 0, len(keys))
	for _, key := range keys {
		g := groups[key]
		which := "run "
		if len(g.runs) > 1 {
			which = "runs "
		}
		text := g.text
		if key != text && len(g.runs) > 1 {
			text = key + ", the last of them so" + strings.TrimPrefix(text, key)
		}
		shown := g.runs
		if more := len(shown) - 6; more > 0 {
			shown = append(shown[:5:5], fmt.Sprintf("%d more", more+1))
		}
		lines = append(lines, which+strings.Join(shown, ", ")+" against the first: "+text)
	}
	return lines
}

// trendRows are the figures as a table has them, with its heading, and the figures of its rows.
func trendRows(t *trend.Trend, all bool) (rows [][]string, figures []*trend.Figure) {
	rows = [][]string{{"operation", "figure", "first", "last", "change", "trend", ""}}
	last := len(t.Runs) - 1
	for i := range t.Figures {
		f := &t.Figures[i]
		worse := slices.ContainsFunc(f.Verdicts, func(v compare.Verdict) bool { return v == compare.Worse || v == compare.Vanished })
		if f.Nothing() || !all && !worse {
			continue
		}
		row := compare.Row{Unit: f.Unit, Before: f.Values[0], After: f.Values[last]}
		rows = append(rows, []string{f.Operation, f.Name, known(&row, row.Before), known(&row, row.After), between(&row), spark(f.Values), string(f.Verdicts[last])})
		figures = append(figures, f)
	}
	if len(figures) == 0 {
		return nil, nil
	}
	return rows, figures
}

// known is a figure, or a dash where a run has none.
func known(r *compare.Row, x float64) string {
	if math.IsNaN(x) {
		return "–"
	}
	return value(r, x)
}

// between is the change of a row's figure.
func between(r *compare.Row) string {
	x := (r.After - r.Before) / r.Before
	if r.Unit == compare.Share {
		x = r.After - r.Before
	}
	if math.IsInf(x, 0) {
		return "–"
	}
	return change(r, x)
}

// spark draws values in a line of text, as much of them as the highest is.
func spark(values []float64) string {
	const bars = "▁▂▃▄▅▆▇█"
	highest := 0.0
	for _, x := range values {
		if !math.IsNaN(x) {
			highest = math.Max(highest, x)
		}
	}
	text := ""
	for _, x := range values {
		if math.IsNaN(x) || highest == 0 {
			text += " "
			continue
		}
		text += string([]rune(bars)[int(math.Round(7*x/highest))])
	}
	return text
}

// TrendMarkdown writes how figures went from run to run for a comment on a pull request.
func TrendMarkdown(w io.Writer, t *trend.Trend, all bool) error {
	b := &strings.Builder{}
	mark := map[compare.Answer]string{compare.SomethingWorse: "❌", compare.NothingWorse: "✅", compare.CannotTell: "⚠️"}[t.Answer()]
	fmt.Fprintf(b, "## %s %s\n\n| run | started | took | outcome | against the first |\n|--:|---|--:|---|---|\n", mark, clean.Markdown(t.Sentence()))
	for i := range t.Runs {
		fmt.Fprintf(b, "| %s |\n", strings.Join(clean.MarkdownCells(runCells(t, i)), " | "))
	}
	b.WriteString("\n")
	for _, n := range trendWarnings(t) {
		text, _, _ := strings.Cut(n, "\n")
		fmt.Fprintf(b, "- %s\n", clean.Markdown(text))
	}
	if rows, _ := trendRows(t, all); len(rows) > 0 {
		fmt.Fprintf(b, "\n| %s |\n|---|---|--:|--:|--:|---|---|\n", strings.Join(rows[0], " | "))
		for _, row := range rows[1:] {
			fmt.Fprintf(b, "| %s |\n", strings.Join(clean.MarkdownCells(row), " | "))
		}
	}
	if len(t.Thresholds) > 0 {
		b.WriteString("\n| threshold | runs |\n|---|---|\n")
		for _, x := range t.Thresholds {
			marks := ""
			for _, o := range x.Outcomes {
				marks += resultMark(o)
			}
			fmt.Fprintf(b, "| %s | %s |\n", clean.MarkdownCode(x.Text), marks)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// TrendJSON writes how figures went from run to run for programs. What a run does not have is null.
func TrendJSON(w io.Writer, t *trend.Trend) error {
	type run struct {
		runJSON
		Answer   compare.Answer `json:"answer,omitempty"` // against the first
		Warnings []string       `json:"warnings"`
	}
	type figure struct {
		Operation string            `json:"operation"`
		Figure    string            `json:"figure"`
		Unit      compare.Unit      `json:"unit"`
		Values    []*float64        `json:"values"`
		Verdicts  []compare.Verdict `json:"verdicts"`
	}
	type threshold struct {
		Threshold string  `json:"threshold"`
		Pass      []*bool `json:"pass"` // null where a run has it not, or where nothing can be said
	}
	out := struct {
		Schema     int            `json:"schema_version"`
		Answer     compare.Answer `json:"answer"`
		Sentence   string         `json:"sentence"`
		Runs       []run          `json:"runs"`
		Figures    []figure       `json:"figures"`
		Thresholds []threshold    `json:"thresholds"`
	}{Schema: 1, Answer: t.Answer(), Sentence: t.Sentence(), Figures: []figure{}, Thresholds: []threshold{}}
	for i := range t.Runs {
		r := &t.Runs[i]
		out.Runs = append(out.Runs, run{jsonOf(r.Run), r.Answer(), append([]string{}, r.Warnings()...)})
	}
	for i := range t.Figures {
		f := &t.Figures[i]
		x := figure{f.Operation, f.Name, f.Unit, make([]*float64, len(f.Values)), f.Verdicts}
		for k, v := range f.Values {
			x.Values[k] = finite(v)
		}
		out.Figures = append(out.Figures, x)
	}
	for _, x := range t.Thresholds {
		row := threshold{Threshold: x.Text, Pass: make([]*bool, len(x.Outcomes))}
		for k, o := range x.Outcomes {
			if o.Known && !o.CannotSay {
				row.Pass[k] = &x.Outcomes[k].Pass
			}
		}
		out.Thresholds = append(out.Thresholds, row)
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(out)
}
