package tables

import (
	"fmt"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/human"
)

func waveName(w report.Wave) string { return fmt.Sprintf("%d of %d", w.Number, w.Of) }

// Generator says whether the load generator can be believed.
type Generator struct {
	Lines  []string    `json:"lines"`  // in words, one line for each stage that was not delivered as asked; none before the fleet ran
	Rows   []Measure   `json:"rows"`   // what it uses
	Stages []Delivered `json:"stages"` // whether each stage was delivered as asked
}

// Measure is one thing that the generator uses, or by which it is late.
type Measure struct {
	Name  string `json:"name"`  // what
	Now   string `json:"now"`   // in the last second; empty in the end
	Most  string `json:"most"`  // so far
	Limit string `json:"limit"` // that there is; empty when there is none, or when it is not known
}

// Delivered is whether one stage was delivered as asked.
type Delivered struct {
	Name    string `json:"name"`     // as reports write it
	AsAsked bool   `json:"as_asked"` // it was, so far
	Asked   uint64 `json:"asked"`    // operations that were due
	Started uint64 `json:"started"`  // of them
	Late    uint64 `json:"late"`     // of them: by the generator's own doing
	Why     string `json:"why"`      // why it was not
}

func percent(share float64) string { return fmt.Sprintf("%.0f %%", 100*share) }
func megabytes(b float64) string   { return human.Count(int64(b/1e6)) + " MB" }
func whole(n float64) string       { return human.Count(int64(n)) }
func seconds(s float64) string     { return length(time.Duration(s * float64(time.Second))) }

// length is a time, with 0 for none.
func length(d time.Duration) string {
	if d <= 0 {
		return "0"
	}
	return human.Duration(d)
}

func generator(e *Evidence) Generator {
	g := Generator{Lines: []string{}, Rows: []Measure{}, Stages: []Delivered{}}
	if h := e.Run.Generator; e.Over && h != nil {
		g.Lines, g.Rows = e.Run.GeneratorLines(), atMost(h)
		for _, x := range h.Stages {
			d := Delivered{x.Name, x.AsAsked, x.Asked, x.Started, x.Late, x.What}
			for _, c := range x.Causes {
				if d.Why != "" {
					d.Why += "; "
				}
				d.Why += c.Text
			}
			g.Stages = append(g.Stages, d)
		}
		return g
	}
	g.Rows = now(e)
	doubt := ""
	if s := e.Standing; s != nil && s.Outlook != report.Starting {
		if doubt = s.Doubt; doubt == "" {
			g.Lines = append(g.Lines, "the load is the one that was asked for, so far")
		} else {
			g.Lines = append(g.Lines, doubt)
		}
	}
	for _, f := range e.Generator {
		if f.Name != "twinfleet_generator_not_as_asked" {
			continue
		}
		for _, x := range f.Samples {
			d := delivered(e.Run, x.Labels[0], x.Value == 0)
			d.Why, _ = strings.CutPrefix(doubt, "stage "+d.Name+": ")
			if d.Why == doubt { // it is of another stage
				d.Why = ""
			}
			g.Stages = append(g.Stages, d)
		}
	}
	return g
}

// delivered is how a stage was delivered so far, by its account.
func delivered(r *report.Run, stage string, asAsked bool) Delivered {
	d := Delivered{Name: stage, AsAsked: asAsked}
	for _, t := range r.Stages {
		if t.Name != stage || t.Totals == nil {
			continue
		}
		for i := range t.Totals.Series {
			x := &t.Totals.Series[i]
			d.Asked, d.Started, d.Late = d.Asked+x.Scheduled(), d.Started+x.Started(), d.Late+x.LateOwn
		}
	}
	return d
}

// measures are what is shown of the generator while it runs: the figure, how it is written, and the figure or number of its limit.
func measures() []struct {
	name, figure, limit string
	write               func(float64) string
} {
	return []struct {
		name, figure, limit string
		write               func(float64) string
	}{
		{"processors, of this program", "cpu_ratio", "", percent},
		{"processors, of all programs", "machine_cpu_ratio", "", percent},
		{"taken by the hypervisor", "steal_ratio", "", percent},
		{"collecting garbage", "gc_cpu_ratio", "", percent},
		{"timers late, 99th percentile", "timer_lateness_seconds", "", seconds},
		{"operations late, 99th percentile", "schedule_lag_seconds", "", seconds},
		{"stood still", "stopped_seconds", "", seconds},
		{"memory", "memory_bytes", "memory_limit_bytes", megabytes},
		{"descriptors", "descriptors", "descriptors_limit", whole},
		{"local ports", "ports", "ports_limit", whole},
	}
}

func now(e *Evidence) []Measure {
	values := make(map[string]float64)
	for _, f := range e.Generator {
		if len(f.Labels) == 0 && len(f.Samples) == 1 {
			values[f.Name] = f.Samples[0].Value
		}
	}
	const prefix = "twinfleet_generator_"
	rows := []Measure{}
	for _, m := range measures() {
		v, ok := values[prefix+m.figure]
		if !ok {
			continue
		}
		row := Measure{Name: m.name, Now: m.write(v), Most: m.write(max(v, e.Peaks[prefix+m.figure]))}
		if limit := values[prefix+m.limit]; m.limit != "" && limit > 0 {
			row.Limit = m.write(limit)
		}
		rows = append(rows, row)
	}
	return rows
}

// Peaks raises the highest values so far of what the generator uses to its figures.
func Peaks(peaks map[string]float64, figures []metrics.Figure) {
	for _, f := range figures {
		if len(f.Labels) == 0 && len(f.Samples) == 1 {
			peaks[f.Name] = max(peaks[f.Name], f.Samples[0].Value)
		}
	}
}

// atMost is what the generator used at most, as the record has it.
func atMost(h *report.Health) []Measure {
	rows := []Measure{
		{Name: "processors, of this program", Most: fmt.Sprintf("%.1f, %.1f on average", h.CPUPeak, h.CPUMean), Limit: fmt.Sprint(h.Cores)},
	}
	if h.Processors > 0 {
		rows = append(rows, Measure{Name: "processors, of all programs", Most: fmt.Sprintf("%.1f", min(h.MachinePeak, float64(h.Processors))), Limit: fmt.Sprint(h.Processors)})
	}
	limit := func(n float64, write func(float64) string) string {
		if n <= 0 {
			return ""
		}
		return write(n)
	}
	return append(rows, []Measure{
		{Name: "collecting garbage", Most: percent(h.GCPeak)},
		{Name: "pause for garbage", Most: length(h.GCPause)},
		{Name: "timers late, 99th percentile", Most: length(h.Late)},
		{Name: "operations late, 99th percentile", Most: length(h.Lag)},
		{Name: "stood still", Most: length(h.Stopped)},
		{Name: "memory", Most: megabytes(float64(h.MemoryPeak)), Limit: limit(float64(h.MemoryLimit), megabytes)},
		{Name: "descriptors", Most: human.Count(h.Descriptors), Limit: limit(float64(h.MaxDescriptors), whole)},
		{Name: "local ports", Most: human.Count(h.Ports), Limit: limit(float64(h.MaxPorts), whole)},
	}...)
}
