// Package judge says, stage by stage, whether the load that was asked for was delivered, and what kept it back.
package judge

import (
	"fmt"
	"slices"
	"time"

	"github.com/twinfleet/twinfleet/report/human"

	"github.com/twinfleet/twinfleet/internal/generator"
	"github.com/twinfleet/twinfleet/internal/generator/rules"
	"github.com/twinfleet/twinfleet/report"
)

// Bounds of a stage. It was not delivered as asked when, of one kind of operation,
//
//   - more than lateShare of those that started were late by the generator's own doing, and lateFew of them, or one by VeryLate, or
//   - more than veryLateShare of them were late by VeryLate, and lateFew of them;
//
// or when one of the rules found a sample, or samples, that count by themselves: such that came sustained on end and make up
// share of the stage, or that came long on end. What starting does not tell of counts in a short stage when it lasted half of it, and a second.
// A connection that failed for want of a descriptor or of a local port counts by itself.
const (
	lateShare     = 0.05
	veryLateShare = 0.01
	lateFew       = 10

	sustained = 5 * time.Second
	share     = 0.10
	long      = time.Minute
)

// VeryLate is how late operations are of which few are too many.
const VeryLate = 100 * time.Millisecond

// named is the least share of a stage's late time of a cause that is named.
const named = 0.25

// Judge holds samples to the rules, stage by stage. It keeps a few numbers for each stage, however long the run. The zero
// Judge is ready. It is for one goroutine.
type Judge struct {
	// Shared says that the embedded hub runs in this process, which its reasons then mention.
	Shared bool
	// Preparing are stages whose load only prepares for others: of them nothing is a reason.
	Preparing []string
	// Beside says what kept the load of a stage back beside this process, what happened first before what may follow from it; nil for nothing.
	Beside func(stage string) []report.Cause

	rules  []rules.Rule
	stages []*stage
	order  []*stage // those that have a name
	health report.Health
	cpu    float64 // seconds of processors
	now    bool
	last   generator.Sample
}

// stage is what the rules found in the samples of one stage.
type stage struct {
	name                 string
	number               int // among all
	measured, late       time.Duration
	found                []finding // by rule
	cpu, machine         float64   // seconds of processors: of this process, of all programs
	noDescriptor, noPort uint64
}

// finding is what one rule found so far in a stage.
type finding struct {
	streak, longest, total time.Duration // of samples that count by themselves
	worst                  generator.Sample
	explained              time.Duration // of samples with late operations or timers that it explains
	example                generator.Sample
}

// Stage begins a stage: the samples from now on are of it. With an empty name the last stage is over.
func (j *Judge) Stage(name string) {
	if j.rules == nil {
		j.rules = rules.All()
	}
	s := &stage{name: name, number: len(j.stages), found: make([]finding, len(j.rules))}
	for i := range j.rules {
		// A process that stood still over the beginning of a stage makes what that has late.
		if r := &j.rules[i]; r.Once && r.Explains(&j.last) {
			s.late += j.last.Elapsed
			s.found[i].explained, s.found[i].example = j.last.Elapsed, j.last
		}
	}
	j.stages = append(j.stages, s)
	if name != "" {
		j.order = append(j.order, s)
	}
}

// Add takes the next sample, which is of the stage that runs.
func (j *Judge) Add(s generator.Sample) {
	if len(j.stages) == 0 {
		j.Stage("")
	}
	if j.stages[len(j.stages)-1].name == "" {
		j.AddWait(s)
	}
	j.note(&s)
	j.now, j.last = false, s
	in := j.stages[len(j.stages)-1]
	in.measured += s.Elapsed
	in.cpu += s.CPU * s.Elapsed.Seconds()
	in.machine += s.Machine * s.Elapsed.Seconds()
	in.noDescriptor += s.NoDescriptor
	in.noPort += s.NoPort
	isLate := s.Late > rules.Late || s.Lag > rules.Late
	if isLate {
		in.late += s.Elapsed
	}
	for i := range j.rules {
		r, f := &j.rules[i], &in.found[i]
		if isLate && r.Explains(&s) {
			if f.explained == 0 || r.Size(&s) > r.Size(&f.example) {
				f.example = s
			}
			f.explained += s.Elapsed
		}
		if !r.Bad(&s) {
			f.streak = 0
			continue
		}
		j.now = true
		if f.total == 0 || r.Size(&s) > r.Size(&f.worst) {
			f.worst = s
		}
		f.streak += s.Elapsed
		f.total += s.Elapsed
		f.longest = max(f.longest, f.streak)
	}
}

// AddWait takes a sample of the wait for the last answers. No load is asked for then, but what is under way is measured: a
// process that stands still makes the last stage's answers late.
func (j *Judge) AddWait(s generator.Sample) {
	if len(j.order) == 0 {
		return
	}
	in := j.order[len(j.order)-1]
	for i := range j.rules {
		if r, f := &j.rules[i], &in.found[i]; r.Once && r.Bad(&s) {
			if f.total == 0 || r.Size(&s) > r.Size(&f.worst) {
				f.worst = s
			}
			f.total += s.Elapsed
			f.longest = max(f.longest, s.Elapsed)
		}
	}
	j.health.Stopped = max(j.health.Stopped, s.Stopped, s.Suspended)
}

// note keeps the worst of each figure.
func (j *Judge) note(s *generator.Sample) {
	h := &j.health
	h.Measured += s.Elapsed
	j.cpu += s.CPU * s.Elapsed.Seconds()
	h.Cores, h.Processors, h.MemoryLimit, h.MaxDescriptors, h.MaxPorts = s.Cores, s.Processors, s.MemoryLimit, s.MaxDescriptors, s.MaxPorts
	if s.Elapsed >= generator.Briefest {
		h.CPUPeak, h.MachinePeak = max(h.CPUPeak, s.CPU), max(h.MachinePeak, s.Machine)
	}
	h.Late, h.Lag = max(h.Late, s.Late), max(h.Lag, s.Lag)
	h.GCPeak, h.GCPause = max(h.GCPeak, s.GC), max(h.GCPause, s.GCPause)
	h.MemoryPeak = max(h.MemoryPeak, s.Memory)
	h.Descriptors, h.Ports = max(h.Descriptors, s.Descriptors), max(h.Ports, s.Ports)
	h.NoDescriptor += s.NoDescriptor
	h.NoPort += s.NoPort
	h.Stopped = max(h.Stopped, s.Stopped, s.Suspended)
}

// Bad reports whether the last sample was bad by any rule. One bad second does not make a verdict.
func (j *Judge) Bad() bool { return j.now }

// Stages are the names of the stages that have begun, in their order.
func (j *Judge) Stages() []string {
	names := make([]string, 0, len(j.order))
	for _, s := range j.order {
		names = append(names, s.name)
	}
	return names
}

// Health is the judgement so far. started says how operations started that were intended in each stage, in their order; of
// stages beyond it nothing is known.
func (j *Judge) Health(started [][]generator.Started) report.Health {
	h := j.health
	if h.Measured > 0 {
		h.CPUMean = j.cpu / h.Measured.Seconds()
	}
	for i := range j.order {
		var ops []generator.Started
		if i < len(started) {
			ops = started[i]
		}
		x := j.JudgeStage(i, ops)
		h.Stages = append(h.Stages, x)
		if !x.AsAsked && !slices.Contains(j.Preparing, x.Name) {
			h.Reasons = append(h.Reasons, x.String())
		}
	}
	h.Saturated = len(h.Reasons) > 0
	if j.Shared && slices.ContainsFunc(h.Stages, ofProcess) {
		h.Reasons = append(h.Reasons, "the embedded hub ran in this process and had its share; run twinfleet hub in another process, or on another machine")
	}
	return h
}

// ofProcess reports whether a stage was short of something of which this process took its share.
func ofProcess(s report.StageHealth) bool {
	return slices.ContainsFunc(s.Causes, func(c report.Cause) bool {
		switch c.Kind {
		case report.CauseProcess, report.CauseGarbage, report.CauseMemory, report.CauseDescriptors, report.CausePorts, report.CauseReader:
			return true
		}
		return false
	})
}

// JudgeStage is the judgement of the i-th stage, counted from 0, so far.
func (j *Judge) JudgeStage(i int, ops []generator.Started) report.StageHealth {
	x := j.Own(i, ops)
	if j.Beside == nil {
		return x
	}
	if beside := j.Beside(x.Name); len(beside) > 0 { // they are why what was late without a reason was so
		own := slices.DeleteFunc(x.Causes, func(c report.Cause) bool { return c.Kind == report.CauseUnknown })
		x.Causes, x.AsAsked = append(slices.Clone(beside), own...), false
	}
	return x
}

// Own is the judgement of the i-th stage by what this process did alone.
func (j *Judge) Own(i int, ops []generator.Started) report.StageHealth {
	s := j.order[i]
	x := report.StageHealth{Name: s.name, Measured: s.measured}
	if s.measured > 0 {
		x.CPU, x.Machine = s.cpu/s.measured.Seconds(), s.machine/s.measured.Seconds()
	}
	for _, o := range ops {
		x.Asked += o.Asked
		x.Started += o.Started
		x.Late += o.Late
		x.Worst = max(x.Worst, o.Worst)
	}
	if o := latest(ops); o != nil {
		x.What = fmt.Sprintf("%d of %d %s operations started late, by up to %s", o.Late, o.Started, o.Operation, behindBy(o.Worst))
		x.Causes = j.explain(s)
	}
	for i := range j.rules {
		r, f := &j.rules[i], &s.found[i]
		if f.counts(r, s.measured) && !slices.ContainsFunc(x.Causes, func(c report.Cause) bool { return c.Kind == r.Kind }) {
			x.Causes = append(x.Causes, r.Cause(&f.worst, f.total))
		}
	}
	if s.noDescriptor > 0 {
		x.Causes = append(x.Causes, report.Cause{
			Kind: report.CauseDescriptors,
			Text: fmt.Sprintf("%s failed for want of a descriptor; raise ulimit -n", human.Number(int(s.noDescriptor), "connection")),
		})
	}
	if s.noPort > 0 {
		x.Causes = append(x.Causes, report.Cause{
			Kind: report.CausePorts,
			Text: fmt.Sprintf("%s failed for want of a local port; name more fleet.source_addresses", human.Number(int(s.noPort), "connection")),
		})
	}
	x.AsAsked = len(x.Causes) == 0
	return x
}

// latest is the kind of operation of which the most were late, of those that were not delivered as asked; nil when all were.
func latest(ops []generator.Started) *generator.Started {
	var found *generator.Started
	for i := range ops {
		if o := &ops[i]; behind(o) && (found == nil || o.Late > found.Late) {
			found = o
		}
	}
	return found
}

// behind reports whether too many operations started late by the generator's own doing.
func behind(o *generator.Started) bool {
	few := o.Late < lateFew
	return (float64(o.Late) > lateShare*float64(o.Started) && (!few || o.Worst > VeryLate)) ||
		(float64(o.VeryLate) > veryLateShare*float64(o.Started) && o.VeryLate >= lateFew)
}

// counts reports whether the bad samples of a stage, which lasted so long, count by themselves.
func (f *finding) counts(r *rules.Rule, stage time.Duration) bool {
	onEnd := sustained
	if !r.Starting {
		onEnd = min(onEnd, max(time.Second, stage/2))
	}
	switch {
	case f.total == 0:
		return false
	case r.Once, f.longest >= long:
		return true
	default:
		return f.longest >= onEnd && f.total.Seconds() >= share*stage.Seconds()
	}
}

// explain says why operations of a stage started late: from its own samples, or, when nothing was late in them, from those of
// the stage after it, in which they started.
func (j *Judge) explain(s *stage) []report.Cause {
	if s.late == 0 && s.number+1 < len(j.stages) {
		s = j.stages[s.number+1]
	}
	var causes []report.Cause
	for i := range j.rules {
		r, f := &j.rules[i], &s.found[i]
		if f.explained == 0 || f.explained.Seconds() < named*s.late.Seconds() || (r.Kind == report.CauseTimers && len(causes) > 0) {
			continue
		}
		causes = append(causes, r.Cause(&f.example, 0))
	}
	if causes == nil {
		causes = []report.Cause{{Kind: report.CauseUnknown, Text: "the reason is not known: timers were punctual and processors free"}}
	}
	return causes
}

func behindBy(d time.Duration) string {
	if d < time.Second {
		return rules.Milliseconds(d)
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
