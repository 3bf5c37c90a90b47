package write

import (
	"encoding/json"
	"io"
	"math"
	"time"

	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/compare"
)

// runJSON is a run for programs.
type runJSON struct {
	Name     string         `json:"name"`
	Started  time.Time      `json:"started"`
	Duration float64        `json:"duration_seconds"`
	Target   string         `json:"target"`
	Devices  int            `json:"devices"`
	Seed     uint64         `json:"seed"`
	Outcome  report.Outcome `json:"outcome"`
}

func jsonOf(r *report.Run) runJSON {
	return runJSON{r.Name, r.Started, r.Duration().Seconds(), r.Target, r.Devices, r.Seed, r.Outcome}
}

// finite is a number as JSON has it: nil for what is none.
func finite(x float64) *float64 {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return nil
	}
	return &x
}

// JSON writes a comparison for programs. Times are in seconds, changes and margins in shares; what is not known is null.
func JSON(w io.Writer, c *compare.Comparison) error {
	type row struct {
		Operation string          `json:"operation"`
		Group     string          `json:"group,omitempty"`
		Figure    string          `json:"figure"`
		Unit      compare.Unit    `json:"unit"`
		Before    float64         `json:"before"`
		After     float64         `json:"after"`
		Change    *float64        `json:"change"`
		Low       *float64        `json:"low"`
		High      *float64        `json:"high"`
		Margin    float64         `json:"margin"`
		Verdict   compare.Verdict `json:"verdict"`
	}
	out := struct {
		Schema   int            `json:"schema_version"`
		Answer   compare.Answer `json:"answer"`
		Sentence string         `json:"sentence"`
		Before   runJSON        `json:"before"`
		After    runJSON        `json:"after"`
		Compared float64        `json:"compared_seconds"`
		Doubts   []string       `json:"doubts"`
		Notes    []string       `json:"notes"`
		Rows     []row          `json:"figures"`
	}{
		Schema: 1, Answer: c.Answer(), Sentence: c.Sentence(), Compared: c.Compared.Seconds(),
		Doubts: append(append([]string{}, c.Unfit...), c.Doubts...), Notes: append([]string{}, c.Notes...), Rows: []row{},
	}
	out.Before, out.After = jsonOf(c.Before), jsonOf(c.After)
	for _, r := range c.Rows {
		out.Rows = append(out.Rows, row{r.Operation, r.Group, r.Figure, r.Unit, r.Before, r.After, finite(r.Change), finite(r.Low), finite(r.High), r.Margin, r.Verdict})
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(out)
}
