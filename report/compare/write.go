package compare

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/color"
	"github.com/twinfleet/twinfleet/report/human"
)

// Write writes a comparison for people: every figure that is not simply as good as before, or all of them.
func (c *Comparison) Write(w io.Writer, style color.Style, all bool) error {
	b := &strings.Builder{}
	fmt.Fprintf(b, "\n  before  %s\n  after   %s\n\n", headline(c.Before), headline(c.After))
	for _, n := range c.warnings() {
		fmt.Fprintf(b, "  %s %s\n", style.Warning(), strings.ReplaceAll(n, "\n", "\n      "))
	}
	if len(c.warnings()) > 0 {
		b.WriteString("\n")
	}
	rows := c.shown(all)
	cells := [][]string{heading()}
	for _, r := range rows {
		cells = append(cells, r.cells())
	}
	if len(rows) > 0 {
		verdict := len(cells[0]) - 1
		for n, line := range human.Columns(cells, func(column int) bool { return column > 1 && column < verdict }) {
			b.WriteString("  " + paintRow(style, line, n, rows) + "\n")
		}
		b.WriteString("\n")
	}
	mark := map[Answer]string{SomethingWorse: style.Mark(false), NothingWorse: style.Mark(true), CannotTell: style.Warning()}[c.Answer()]
	fmt.Fprintf(b, "  %s %s\n", mark, c.Sentence())
	for _, line := range c.remarks(len(rows) < len(c.Rows)) {
		b.WriteString("    " + line + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// warnings are what a reader must know, the gravest first.
func (c *Comparison) warnings() []string { return slices.Concat(c.Unfit, c.Doubts, c.Notes) }

func headline(r *report.Run) string {
	parts := []string{r.Name, r.Started.Format(time.DateTime), human.Duration(r.Duration())}
	if r.Target != "" {
		parts = append(parts, r.Target)
	}
	return strings.Join(append(parts, string(r.Outcome)), ", ")
}

func heading() []string {
	return []string{"operation", "figure", "before", "after", "change", "95% interval", ""}
}

func paintRow(style color.Style, line string, n int, rows []Row) string {
	if n == 0 {
		return style.Faint(line)
	}
	switch r := rows[n-1]; {
	case r.Bad():
		return style.Bad(line)
	case r.Verdict == TooShort || r.Verdict == LateStart || r.Verdict == Appeared:
		return style.Doubtful(line)
	}
	return line
}

// shown are the rows that a reader needs: of a group only what is worse than it was, or gone.
func (c *Comparison) shown(all bool) []Row {
	if all {
		return c.Rows
	}
	return c.rows(func(r *Row) bool {
		switch r.Verdict {
		case NotWorse, TooFew:
			return false
		case TooShort, LateStart, Better, Differs:
			return r.Group == ""
		}
		return true
	})
}

// Sentence is the answer in a line.
func (c *Comparison) Sentence() string {
	worse, unsure, judged := len(c.Regressions()), len(c.Unsure()), len(c.judged())
	switch {
	case len(c.Unfit) > 0:
		text := "cannot tell: the figures are the generator's, not the target's"
		if judged > 0 {
			text += fmt.Sprintf("; %s of %d would be worse", count(worse, "figure"), judged)
		}
		return text
	case worse > 0:
		return fmt.Sprintf("worse: %s of %d", count(worse, "figure"), judged)
	case judged == 0:
		return "cannot tell: there is no figure that both runs have enough of"
	case len(c.late()) > 0:
		return fmt.Sprintf("cannot tell: for %s of %d the machine was too busy; run both on a quiet one", count(len(c.late()), "figure"), judged)
	case unsure > 0:
		return fmt.Sprintf("too short to tell: %s of %d may be worse by more than the margin; run both longer", count(unsure, "figure"), judged)
	case len(c.Doubts) > 0:
		return fmt.Sprintf("cannot tell: nothing is worse in the %s that both runs have, but that is not all there is to know", human.Duration(c.Compared.Round(time.Second)))
	default:
		return fmt.Sprintf("not worse by more than the margins: %s", count(judged, "figure"))
	}
}

func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// remarks are what goes with the answer.
func (c *Comparison) remarks(hidden bool) []string {
	var lines []string
	if c.Blocks > 0 {
		m := c.Margins
		lines = append(lines, fmt.Sprintf("margins: p50 %s, p95 %s, p99 %s, rate %s, errors %s of what was due; latencies %s", share(m.P50), share(m.P95), share(m.P99), share(m.Rate), share(m.Errors), human.Duration(c.Floor)))
	}
	var few []string
	for _, r := range c.Rows {
		if r.Verdict == TooFew && r.Group == "" {
			if n := len(few); n > 0 && strings.HasPrefix(few[n-1], r.Operation+" ") {
				few[n-1] += " " + r.Figure
			} else {
				few = append(few, r.Operation+" "+r.Figure)
			}
		}
	}
	if len(few) > 0 {
		lines = append(lines, "too few operations for: "+strings.Join(few, ", "))
	}
	if hidden {
		lines = append(lines, "--all shows every figure")
	}
	return lines
}

func (r *Row) cells() []string {
	name := r.Operation
	if r.Group != "" {
		name += " " + r.Group
	}
	return []string{name, r.Figure, r.value(r.Before), r.value(r.After), r.change(r.Change), r.interval(), r.answer()}
}

// answer is the verdict as a row says it: with the margin, where that is what was found.
func (r *Row) answer() string {
	if r.Verdict != NotWorse {
		return string(r.Verdict)
	}
	margin := share(r.Margin)
	switch {
	case r.Unit == Share:
		margin = points(r.Margin)
	case r.floor > 0:
		margin = human.Duration(r.floor)
	}
	return string(NotWorse) + " by " + margin
}

func (r *Row) interval() string {
	if math.IsNaN(r.Low) {
		return "–"
	}
	return r.change(r.Low) + " … " + r.change(r.High)
}

func (r *Row) value(x float64) string {
	switch r.Unit {
	case Seconds:
		return human.Duration(time.Duration(math.Round(x * float64(time.Second))))
	case PerSecond:
		return human.Rate(x)
	case Share:
		return share(x)
	default:
		return human.Count(int64(x))
	}
}

// change is a change as one reads it: what is several times as much, or as little, as a factor.
func (r *Row) change(x float64) string {
	switch {
	case math.IsNaN(x):
		return "–"
	case r.Unit == Share:
		if x < 0 {
			return points(x)
		}
		return "+" + points(x)
	case x >= 999:
		return ">×1000"
	case x >= 9:
		return fmt.Sprintf("×%.0f", 1+x)
	case x >= 1:
		return fmt.Sprintf("×%.1f", 1+x)
	default:
		return fmt.Sprintf("%+.1f%%", 100*x)
	}
}

// points are a difference of shares.
func points(x float64) string { return strconv.FormatFloat(100*x, 'f', 2, 64) + " pt" }

func share(x float64) string {
	if x >= 9.995 {
		return human.Count(int64(math.Round(100*x))) + "%"
	}
	return strconv.FormatFloat(100*x, 'g', 3, 64) + "%"
}

// WriteMarkdown writes a comparison for a comment on a pull request.
func (c *Comparison) WriteMarkdown(w io.Writer, all bool) error {
	b := &strings.Builder{}
	mark := map[Answer]string{SomethingWorse: "❌", NothingWorse: "✅", CannotTell: "⚠️"}[c.Answer()]
	fmt.Fprintf(b, "## %s %s\n\n- before: %s\n- after: %s\n", mark, c.Sentence(), headline(c.Before), headline(c.After))
	for _, n := range c.warnings() {
		text, lines, found := strings.Cut(n, "\n")
		fmt.Fprintf(b, "- %s\n", text)
		if found {
			fmt.Fprintf(b, "\n  ```diff\n  %s\n  ```\n", strings.ReplaceAll(lines, "\n", "\n  "))
		}
	}
	if rows := c.shown(all); len(rows) > 0 {
		fmt.Fprintf(b, "\n| %s |\n|---|---|---:|---:|---:|---:|---|\n", strings.Join(heading(), " | "))
		for _, r := range rows {
			fmt.Fprintf(b, "| %s |\n", strings.Join(r.cells(), " | "))
		}
	}
	b.WriteString("\n")
	for _, line := range c.remarks(false) {
		fmt.Fprintf(b, "%s  \n", line)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteJSON writes a comparison for programs. Times are in seconds, changes and margins in shares; what is not known is null.
func (c *Comparison) WriteJSON(w io.Writer) error {
	type run struct {
		Name     string         `json:"name"`
		Started  time.Time      `json:"started"`
		Duration float64        `json:"duration_seconds"`
		Target   string         `json:"target"`
		Devices  int            `json:"devices"`
		Seed     uint64         `json:"seed"`
		Outcome  report.Outcome `json:"outcome"`
	}
	type row struct {
		Operation string   `json:"operation"`
		Group     string   `json:"group,omitempty"`
		Figure    string   `json:"figure"`
		Unit      Unit     `json:"unit"`
		Before    float64  `json:"before"`
		After     float64  `json:"after"`
		Change    *float64 `json:"change"`
		Low       *float64 `json:"low"`
		High      *float64 `json:"high"`
		Margin    float64  `json:"margin"`
		Verdict   Verdict  `json:"verdict"`
	}
	known := func(x float64) *float64 {
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return nil
		}
		return &x
	}
	out := struct {
		Schema   int      `json:"schema_version"`
		Answer   Answer   `json:"answer"`
		Sentence string   `json:"sentence"`
		Before   run      `json:"before"`
		After    run      `json:"after"`
		Compared float64  `json:"compared_seconds"`
		Doubts   []string `json:"doubts"`
		Notes    []string `json:"notes"`
		Rows     []row    `json:"figures"`
	}{Schema: 1, Answer: c.Answer(), Sentence: c.Sentence(), Compared: c.Compared.Seconds(), Doubts: append(append([]string{}, c.Unfit...), c.Doubts...), Notes: append([]string{}, c.Notes...), Rows: []row{}}
	for i, r := range []*report.Run{c.Before, c.After} {
		*[2]*run{&out.Before, &out.After}[i] = run{r.Name, r.Started, r.Duration().Seconds(), r.Target, r.Devices, r.Seed, r.Outcome}
	}
	for _, r := range c.Rows {
		out.Rows = append(out.Rows, row{r.Operation, r.Group, r.Figure, r.Unit, r.Before, r.After, known(r.Change), known(r.Low), known(r.High), r.Margin, r.Verdict})
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(out)
}
