package judge

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/generator"
	"github.com/twinfleet/twinfleet/report"
	"pgregory.net/rapid"
)

const ms = time.Millisecond

// samples plays samples of one stage to a Judge, and gives its judgement with what started in it.
func samples(in []generator.Sample, ops ...generator.Started) report.StageHealth {
	var j Judge
	j.Stage("hold")
	for _, s := range in {
		j.Add(s)
	}
	j.Stage("")
	return j.JudgeStage(0, ops)
}

// of are operations of one kind: asked for, started, late, very late, and the worst of them.
func of(operation string, asked, started, late, veryLate uint64, worst time.Duration) generator.Started {
	return generator.Started{Operation: operation, Asked: asked, Started: started, Late: late, VeryLate: veryLate, Worst: worst}
}

// check holds a judgement to the kinds of causes that it must have, and to a part of its text.
func check(t *testing.T, name string, x report.StageHealth, want []report.CauseKind, text string) {
	t.Helper()
	var kinds []report.CauseKind
	for _, c := range x.Causes {
		kinds = append(kinds, c.Kind)
	}
	if !slices.Equal(kinds, want) || x.AsAsked != (len(want) == 0) || !strings.Contains(x.String(), text) {
		t.Errorf("%s: as asked %t, %v: %q; want %v and %q", name, x.AsAsked, kinds, x.String(), want, text)
	}
}

// The load that was asked for was delivered, or not, by how operations started.
func TestLateStarts(t *testing.T) {
	connect := func(started, late, very uint64, worst time.Duration) generator.Started {
		return of("connect", started, started, late, very, worst)
	}
	for _, tt := range []struct {
		name string
		ops  []generator.Started
		late bool
		text string
	}{
		{"nothing was due", nil, false, ""},
		{"nothing started", []generator.Started{{Operation: "connect", Asked: 10}}, false, ""},
		{"all punctual", []generator.Started{connect(8000, 0, 0, 9*ms)}, false, ""},
		{
			"a storm that starts late",
			[]generator.Started{connect(8000, 7887, 7000, 4*time.Second)},
			true,
			"stage hold: 7887 of 8000 connect operations started late, by up to 4.0 s: ",
		},
		{"a twentieth", []generator.Started{connect(1000, 50, 0, 20*ms)}, false, ""},
		{"more than a twentieth", []generator.Started{connect(1000, 51, 0, 20*ms)}, true, "by up to 20 ms"},
		{"few and a little", []generator.Started{connect(20, 9, 0, 100*ms)}, false, ""},
		{"few and much", []generator.Started{connect(20, 2, 2, 101*ms)}, true, "2 of 20"},
		{"ten", []generator.Started{connect(20, 10, 0, 11*ms)}, true, "10 of 20"},
		{"one in a hundred very late", []generator.Started{connect(2000, 20, 20, 500*ms)}, false, ""},
		{"more than one in a hundred very late", []generator.Started{connect(2000, 21, 21, 500*ms)}, true, "21 of 2000"},
		{"more than one in a hundred very late, and few", []generator.Started{connect(200, 9, 9, 500*ms)}, false, ""},
		{
			"hidden among many of another kind",
			[]generator.Started{connect(3000, 3000, 3000, 600*ms), of("telemetry", 90_000, 90_000, 0, 0, 0)},
			true,
			"3000 of 3000 connect",
		},
		{"the worst kind is named", []generator.Started{connect(100, 20, 0, 30*ms), of("telemetry", 500, 500, 400, 9, 300*ms)}, true, "400 of 500 telemetry"},
	} {
		x := samples(repeat(calm(), 10), tt.ops...)
		want := []report.CauseKind{report.CauseUnknown}
		if !tt.late {
			want = nil
		}
		check(t, tt.name, x, want, tt.text)
	}
}

// What late operations are put down to.
func TestCauses(t *testing.T) {
	storm := of("connect", 8000, 8000, 7000, 6000, 4*time.Second)
	lately := func(change func(s *generator.Sample)) []generator.Sample {
		return append(repeat(calm(), 10), with(func(s *generator.Sample) {
			s.Late, s.Lag = 80*ms, time.Second
			change(s)
		}))
	}
	for _, tt := range []struct {
		name string
		in   []generator.Sample
		want []report.CauseKind
		text string
	}{
		{
			"this process", lately(func(s *generator.Sample) { s.CPU = 1.9 }),
			[]report.CauseKind{report.CauseProcess},
			"this process used 1.9 of 2 processors; give it more",
		},
		{
			"this process, in a burst", lately(func(s *generator.Sample) { s.Own, s.Machine = 1.95, 2 }),
			[]report.CauseKind{report.CauseProcess},
			"this process used 1.9 of 2 processors",
		},
		{
			"the whole machine", lately(func(s *generator.Sample) { s.Own, s.Machine = 0.9, 2.01 }),
			[]report.CauseKind{report.CauseMachine},
			"2.0 of 2 processors of this machine were in use, 0.9 by this process; give the target",
		},
		{
			"programs wait", lately(func(s *generator.Sample) { s.Waiting = 0.9 }),
			[]report.CauseKind{report.CauseMachine},
			"and programs waited for one in 90 % of the time",
		},
		{
			"programs wait, and no more is known", lately(func(s *generator.Sample) { s.Waiting, s.Processors = 0.9, 0 }),
			[]report.CauseKind{report.CauseMachine},
			"programs waited for a processor of this machine in 90 % of the time",
		},
		{
			"steal", lately(func(s *generator.Sample) { s.Steal = 0.6 }),
			[]report.CauseKind{report.CauseSteal},
			"the hypervisor gave 0.6 of 2 processors to other machines",
		},
		{
			"a limit", lately(func(s *generator.Sample) { s.Limit, s.Held = 1.5, 0.7 }),
			[]report.CauseKind{report.CauseLimit},
			"limit of 1.5 processors held the process up in 70 % of its periods; raise the limit",
		},
		{"garbage", lately(func(s *generator.Sample) { s.GC = 0.4 }), []report.CauseKind{report.CauseGarbage}, "garbage took up to 40 %"},
		{"memory", lately(func(s *generator.Sample) { s.Memory = 960e6 }), []report.CauseKind{report.CauseMemory}, "960 of 1000 MB memory were in use"},
		{
			"descriptors", lately(func(s *generator.Sample) { s.Descriptors = 951 }),
			[]report.CauseKind{report.CauseDescriptors},
			"951 of 1000 descriptors were in use; raise ulimit -n",
		},
		{"ports", lately(func(s *generator.Sample) { s.Ports = 27000 }), []report.CauseKind{report.CausePorts}, "27000 of 28232 local ports"},
		{
			"late timers and free processors", lately(func(*generator.Sample) {}),
			[]report.CauseKind{report.CauseTimers},
			"timers fired up to 80 ms late (p99) while the process used 0.5 of 2 processors",
		},
		{"nothing", repeat(calm(), 10), []report.CauseKind{report.CauseUnknown}, "not known"},
		{"two", lately(func(s *generator.Sample) { s.GC, s.CPU = 0.5, 2 }), []report.CauseKind{report.CauseProcess, report.CauseGarbage}, ""},
		{
			"what was bad while nothing was late explains nothing", append(lately(func(*generator.Sample) {}), with(func(s *generator.Sample) { s.CPU = 2 })),
			[]report.CauseKind{report.CauseTimers},
			"",
		},
	} {
		check(t, tt.name, samples(tt.in, storm), tt.want, tt.text)
	}
}

// What started in the stage after its own is explained by that stage's samples.
func TestCausesOfTheNextStage(t *testing.T) {
	var j Judge
	j.Stage("burst")
	j.Add(calm())
	j.Stage("hold")
	j.Add(with(func(s *generator.Sample) { s.Lag, s.Machine = time.Second, 2 }))
	storm := of("connect", 8000, 8000, 7000, 6000, 4*time.Second)
	h := j.Health([][]generator.Started{{storm}, nil})
	check(t, "burst", h.Stages[0], []report.CauseKind{report.CauseMachine}, "stage burst: 7000 of 8000")
	check(t, "hold", h.Stages[1], nil, "")
	if want := []string{h.Stages[0].String()}; !h.Saturated || !slices.Equal(h.Reasons, want) {
		t.Errorf("saturated %t, %q; want %q", h.Saturated, h.Reasons, want)
	}
}

// What counts by itself, however operations start.
func TestBadSamples(t *testing.T) {
	starved := with(func(s *generator.Sample) { s.CPU, s.Late, s.Lag = 1.9, 40*ms, 60*ms })
	others := with(func(s *generator.Sample) { s.CPU, s.Late, s.Lag = 0.7, 70*ms, 60*ms })
	garbage := with(func(s *generator.Sample) { s.GC = 0.3 })
	for _, tt := range []struct {
		name string
		in   []generator.Sample
		want []report.CauseKind
		text string
	}{
		{"nothing measured", nil, nil, ""},
		{"all well", repeat(calm(), 60), nil, ""},
		{
			"processors busy and operations late", append(repeat(calm(), 20), repeat(starved, 5)...),
			[]report.CauseKind{report.CauseProcess},
			"this process used 1.9 of 2 processors for 5 s; give it more",
		},
		{"not for long enough", append(repeat(calm(), 20), repeat(starved, 4)...), nil, ""},
		{"often and never on end", slices.Concat(repeat(starved, 4), repeat(calm(), 1), repeat(starved, 4), repeat(calm(), 1), repeat(starved, 4)), nil, ""},
		{"on end and too small a part of the stage", append(repeat(calm(), 100), repeat(starved, 6)...), nil, ""},
		{"a minute on end, whatever part of the stage", append(repeat(calm(), 10_000), repeat(starved, 60)...), []report.CauseKind{report.CauseProcess}, "for 60 s"},
		{"busy and punctual", repeat(with(func(s *generator.Sample) { s.CPU = 2 }), 30), nil, ""},
		{
			"busy, timers punctual, operations late", repeat(with(func(s *generator.Sample) { s.CPU, s.Lag = 2, 30*ms }), 30),
			[]report.CauseKind{report.CauseProcess},
			"",
		},
		{"timers late and nothing to do", repeat(with(func(s *generator.Sample) { s.Late, s.Lag = 80*ms, 0 }), 30), nil, ""},
		{
			"the machine is full", repeat(with(func(s *generator.Sample) { s.Machine, s.Late, s.Lag = 2, 70*ms, 60*ms }), 30),
			[]report.CauseKind{report.CauseMachine},
			"2.0 of 2 processors of this machine were in use",
		},
		{"the hypervisor", repeat(with(func(s *generator.Sample) { s.Steal, s.Late, s.Lag = 0.5, 70*ms, 60*ms }), 30), []report.CauseKind{report.CauseSteal}, ""},
		{"a limit", repeat(with(func(s *generator.Sample) { s.Held, s.Late, s.Lag = 0.5, 70*ms, 60*ms }), 30), []report.CauseKind{report.CauseLimit}, ""},
		{
			"nobody knows who", repeat(others, 30),
			[]report.CauseKind{report.CauseTimers},
			"timers fired up to 70 ms late (p99) while the process used 0.7 of 2 processors for 30 s",
		},
		{"others take a little", repeat(with(func(s *generator.Sample) { s.CPU, s.Late, s.Lag = 0.7, 50*ms, 60*ms }), 30), nil, ""},
		{
			"garbage", append(repeat(calm(), 20), repeat(garbage, 5)...),
			[]report.CauseKind{report.CauseGarbage},
			"collecting garbage took up to 30 % of the processors' time for 5 s",
		},
		{"garbage, in half of a short stage", append(repeat(calm(), 2), repeat(garbage, 2)...), []report.CauseKind{report.CauseGarbage}, "for 2 s"},
		{"garbage, for less than a second", []generator.Sample{with(func(s *generator.Sample) { s.Elapsed, s.GC = 500*ms, 0.9 })}, nil, ""},
		{"garbage, in less of it", append(repeat(calm(), 3), repeat(garbage, 2)...), nil, ""},
		{
			"memory", repeat(with(func(s *generator.Sample) { s.Memory = 960e6 }), 30),
			[]report.CauseKind{report.CauseMemory},
			"960 of 1000 MB memory were in use for 30 s",
		},
		{
			"descriptors", repeat(with(func(s *generator.Sample) { s.Descriptors = 951 }), 30),
			[]report.CauseKind{report.CauseDescriptors},
			"951 of 1000 descriptors were in use for 30 s; raise ulimit -n",
		},
		{"descriptors at the bound", repeat(with(func(s *generator.Sample) { s.Descriptors = 950 }), 30), nil, ""},
		{
			"ports", repeat(with(func(s *generator.Sample) { s.Ports = 27000 }), 30),
			[]report.CauseKind{report.CausePorts},
			"27000 of 28232 local ports were in use for 30 s; name more fleet.source_addresses",
		},
		{"no limit known", repeat(generator.Sample{Elapsed: time.Second, Memory: 5, Descriptors: 5, Ports: 5}, 30), nil, ""},
		{
			"one connection without a descriptor", append(repeat(calm(), 1000), with(func(s *generator.Sample) { s.NoDescriptor = 1 })),
			[]report.CauseKind{report.CauseDescriptors},
			"1 connection failed for want of a descriptor",
		},
		{
			"connections without a port", append(repeat(calm(), 1000), repeat(with(func(s *generator.Sample) { s.NoPort = 3 }), 2)...),
			[]report.CauseKind{report.CausePorts},
			"6 connections failed for want of a local port",
		},
		{
			"two things at once", repeat(with(func(s *generator.Sample) { s.GC, s.Descriptors = 0.5, 1000 }), 10),
			[]report.CauseKind{report.CauseGarbage, report.CauseDescriptors},
			"",
		},
		{
			"long samples count as long as they are", append(repeat(calm(), 20), repeat(with(func(s *generator.Sample) { s.Elapsed, s.GC = 3*time.Second, 0.5 }), 2)...),
			[]report.CauseKind{report.CauseGarbage},
			"for 6 s",
		},
		{
			"stopped", append(repeat(calm(), 1000), with(func(s *generator.Sample) { s.Elapsed, s.Stopped = 10900*ms, 9900*ms })),
			[]report.CauseKind{report.CauseStopped},
			"stage hold: the process was stopped for 9.9 s",
		},
		{"hardly stopped", append(repeat(calm(), 10), with(func(s *generator.Sample) { s.Stopped = 990 * ms })), nil, ""},
		{
			"suspended", append(repeat(calm(), 1000), with(func(s *generator.Sample) { s.Suspended = time.Hour })),
			[]report.CauseKind{report.CauseStopped},
			"the machine was suspended for 3600.0 s",
		},
	} {
		check(t, tt.name, samples(tt.in), tt.want, tt.text)
	}
}

// What was bad in one stage says nothing of another.
func TestStagesAreApart(t *testing.T) {
	var j Judge
	j.Add(with(func(s *generator.Sample) { s.Stopped = time.Minute })) // before the first stage
	for _, name := range []string{"ramp", "hold", "hold"} {
		j.Stage(name)
		s := calm()
		if len(j.Stages()) == 2 {
			s.Stopped = 3 * time.Second
		}
		j.Add(s)
	}
	j.Stage("")
	j.Add(with(func(s *generator.Sample) { s.NoPort = 1 })) // after the last
	h := j.Health([][]generator.Started{{{Operation: "connect", Asked: 9, Started: 8, Late: 1, Worst: 12 * ms}}})
	if len(h.Stages) != 3 || len(h.Reasons) != 1 || h.Stages[1].AsAsked || !h.Stages[0].AsAsked || !h.Stages[2].AsAsked {
		t.Fatalf("stages = %+v", h.Stages)
	}
	if got, want := h.Stages[0], (report.StageHealth{
		Name: "ramp", AsAsked: true, Asked: 9, Started: 8, Late: 1,
		Worst: 12 * ms,
	}); got.String() != want.String() || got.Asked != want.Asked || got.Started != want.Started || got.Late != want.Late ||
		got.Worst != want.Worst {
		t.Errorf("ramp = %+v; want %+v", got, want)
	}
}

// A process that stands still while the last answers are waited for makes the last stage's figures its own; being busy
// then does not.
func TestAddWait(t *testing.T) {
	var j Judge
	j.AddWait(with(func(s *generator.Sample) { s.Stopped = time.Minute })) // no stage was there
	j.Stage("ramp")
	j.Add(calm())
	j.Stage("hold")
	j.Add(calm())
	j.Stage("")
	j.AddWait(with(func(s *generator.Sample) { s.CPU, s.Late, s.Lag = 2, time.Second, time.Second }))
	if h := j.Health([][]generator.Started{nil, nil}); h.Saturated {
		t.Fatalf("saturated by a busy wait: %q", h.Reasons)
	}
	j.AddWait(with(func(s *generator.Sample) { s.Stopped = 4 * time.Second }))
	h := j.Health([][]generator.Started{nil, nil})
	if !h.Saturated || !h.Stages[0].AsAsked || h.Stages[1].AsAsked || !strings.Contains(h.Reasons[0], "the process was stopped for 4.0 s") {
		t.Errorf("%+v", h)
	}
}

// A process that stood still over the beginning of a stage is why that stage's operations are late, whatever else was scarce.
func TestStoppedOverTheBeginning(t *testing.T) {
	var j Judge
	j.Stage("ramp")
	j.Add(calm())
	stood := calm()
	stood.Elapsed, stood.Stopped, stood.Late = 4*time.Second, 4*time.Second, 4*time.Second
	j.Add(stood)
	j.Stage("hold")
	for range 7 {
		stolen := calm()
		stolen.Steal, stolen.Late = 0.5, 30*time.Millisecond
		j.Add(stolen)
	}
	h := j.Health([][]generator.Started{nil, {of("connect", 220, 220, 82, 80, 4*time.Second)}})
	if all := strings.Join(h.Reasons, "\n"); !strings.Contains(all, "stage ramp: the process was stopped for 4.0 s") ||
		!strings.Contains(all, "stage hold: 82 of 220 connect operations started late, by up to 4.0 s: the process was stopped for 4.0 s") {
		t.Errorf("%s", all)
	}
}

// calm is a second in which all was well.
func calm() generator.Sample {
	return generator.Sample{
		Elapsed: time.Second, CPU: 0.5, Cores: 2, Machine: 0.8, Own: 0.6, Processors: 2, GC: 0.02, Memory: 200e6, MemoryLimit: 1000e6,
		Descriptors: 100, MaxDescriptors: 1000, Ports: 100, MaxPorts: 28232, Late: time.Millisecond, Lag: time.Millisecond,
	}
}

func with(change func(s *generator.Sample)) generator.Sample {
	s := calm()
	change(&s)
	return s
}

func repeat(s generator.Sample, n int) []generator.Sample {
	return slices.Repeat([]generator.Sample{s}, n)
}

func TestHealthKeepsTheWorst(t *testing.T) {
	j := Judge{Shared: true}
	j.Stage("hold")
	j.Add(calm())
	if j.Bad() {
		t.Error("a calm second is bad")
	}
	j.Add(with(func(s *generator.Sample) {
		s.Elapsed, s.CPU, s.Late, s.Lag, s.GC, s.GCPause = 3*time.Second, 1.5, 30*time.Millisecond, 50*time.Millisecond, 0.3, time.Millisecond
		s.Memory, s.Descriptors, s.Ports = 300e6, 500, 900
	}))
	if !j.Bad() {
		t.Error("a second with a third of the time for garbage is not bad")
	}
	j.Add(calm())
	want := report.Health{
		Measured: 5 * time.Second, Cores: 2, Processors: 2, MachinePeak: 0.8, CPUMean: 1.1, CPUPeak: 1.5, Late: 30 * time.Millisecond,
		Lag: 50 * time.Millisecond, GCPeak: 0.3, GCPause: time.Millisecond,
		MemoryPeak: 300e6, MemoryLimit: 1000e6, Descriptors: 500, MaxDescriptors: 1000, Ports: 900, MaxPorts: 28232,
	}
	got := j.Health(nil)
	got.Stages, got.Saturated, got.Reasons = nil, false, nil
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("health = %+v; want %+v", got, want)
	}
	for range 10 {
		j.Add(with(func(s *generator.Sample) { s.GC = 0.9 }))
	}
	reasons := j.Health(nil).Reasons
	if len(reasons) != 2 || !strings.Contains(reasons[1], "the embedded hub ran in this process") {
		t.Errorf("reasons = %q; the last must name the hub", reasons)
	}
}

// Bad seconds make a verdict more likely, never less: whatever the samples, one that is worse in
// everything changes saturated to ok for no run.
func TestWorseNeverHelps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 40).Draw(t, "seconds")
		at := rapid.IntRange(0, n-1).Draw(t, "at")
		var j, worse Judge
		j.Stage("hold")
		worse.Stage("hold")
		for i := range n {
			s := with(func(s *generator.Sample) {
				s.CPU = rapid.SampledFrom([]float64{0.5, 1.95}).Draw(t, "cpu")
				s.Late = time.Duration(rapid.SampledFrom([]int{1, 50}).Draw(t, "late")) * time.Millisecond
				s.Lag = time.Duration(rapid.SampledFrom([]int{1, 50}).Draw(t, "lag")) * time.Millisecond
				s.GC = rapid.SampledFrom([]float64{0, 0.5}).Draw(t, "gc")
			})
			j.Add(s)
			if i == at {
				s.GC, s.Descriptors, s.Ports, s.Stopped = 1, 1000, 28232, time.Minute
			}
			worse.Add(s)
		}
		if h := j.Health(nil); h.Saturated && !worse.Health(nil).Saturated {
			t.Fatalf("saturated became ok: %q", h.Reasons)
		}
	})
}

// What only prepares for others is no reason, and is told all the same.
func TestPreparing(t *testing.T) {
	late := []generator.Started{of("connect", 100, 100, 90, 90, time.Second)}
	for _, preparing := range [][]string{nil, {"drain"}} {
		j := Judge{Preparing: preparing}
		for _, name := range []string{"drain", "hold"} {
			j.Stage(name)
			j.Add(generator.Sample{Elapsed: time.Second, Cores: 2})
		}
		j.Stage("")
		h := j.Health([][]generator.Started{late, nil})
		if h.Saturated != (preparing == nil) || len(h.Stages) != 2 || h.Stages[0].AsAsked || !h.Stages[1].AsAsked {
			t.Errorf("preparing %v: saturated %t, stages %+v", preparing, h.Saturated, h.Stages)
		}
	}
}

// What kept a stage back beside this process makes it one that was not delivered as asked, and is why what was late was so.
func TestBeside(t *testing.T) {
	late, lost := []generator.Started{of("connect", 100, 100, 90, 90, time.Second)}, report.Cause{Kind: report.CauseAgents, Text: "agent b was lost"}
	j := Judge{Beside: func(stage string) []report.Cause {
		if stage == "ramp" || stage == "hold" {
			return []report.Cause{lost}
		}
		return nil
	}}
	for _, name := range []string{"ramp", "hold", "end"} {
		j.Stage(name)
		j.Add(generator.Sample{Elapsed: time.Second, Cores: 2})
	}
	h := j.Health([][]generator.Started{nil, late, late})
	want := []string{
		"stage ramp: agent b was lost", "stage hold: 90 of 100 connect operations started late, by up to 1.0 s: agent b was lost",
		"stage end: 90 of 100 connect operations started late, by up to 1.0 s: the reason is not known: timers were punctual and processors free",
	}
	if !h.Saturated || !slices.Equal(h.Reasons, want) || h.Stages[0].AsAsked || h.Stages[1].AsAsked || h.Stages[0].Causes[0] != lost {
		t.Errorf("%q, %+v; want %q", h.Reasons, h.Stages, want)
	}
	if x := j.Own(0, nil); !x.AsAsked || len(x.Causes) > 0 {
		t.Errorf("this process alone: %+v", x)
	}
}

// A process that reads messages late makes their deliveries look slow, though all that it sends starts in time.
func TestReadsLate(t *testing.T) {
	punctual := of("telemetry", 8000, 8000, 0, 0, 0)
	slow := func(n int, behind time.Duration) []generator.Sample {
		return append(repeat(calm(), 20), repeat(with(func(s *generator.Sample) { s.Behind = behind }), n)...)
	}
	check(t, "seconds on end", samples(slow(10, 90*time.Millisecond), punctual), []report.CauseKind{report.CauseReader},
		"this process read messages up to 90 ms late for 10 s; give it more processors, or fewer messages to read")
	check(t, "a hiccup", samples(slow(2, 90*time.Millisecond), punctual), nil, "")
	check(t, "what does not matter", samples(slow(30, 9*time.Millisecond), punctual), nil, "")
}

// What a stage took of the processors is the mean over its time, and nothing of the stages around it.
func TestProcessorsOfAStage(t *testing.T) {
	var j Judge
	j.Stage("ramp")
	j.Add(generator.Sample{Elapsed: 10 * time.Second, CPU: 2, Machine: 2, Cores: 2})
	j.Stage("hold")
	j.Add(generator.Sample{Elapsed: 3 * time.Second, CPU: 0.5, Machine: 1, Cores: 2})
	j.Add(generator.Sample{Elapsed: time.Second, CPU: 1.5, Machine: 2, Cores: 2})
	j.Stage("")
	j.Add(generator.Sample{Elapsed: time.Second, CPU: 2, Machine: 2, Cores: 2})
	if x := j.JudgeStage(1, nil); x.Measured != 4*time.Second || x.CPU != 0.75 || x.Machine != 1.25 {
		t.Errorf("%+v; want 0.75 of this process and 1.25 of all, in 4s", x)
	}
	if x := new(Judge); x.Health(nil).Stages != nil {
		t.Error("there is a stage where none was")
	}
}
