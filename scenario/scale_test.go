package scenario_test

import (
	"math"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/twinfleet/twinfleet/scenario"
)

// groupCounts are how many devices the groups have.
func groupCounts(sc *scenario.Scenario) (n []int) {
	for i := range sc.Fleet.Groups {
		n = append(n, sc.Fleet.Groups[i].Count)
	}
	return n
}

// stageTimes are how long the stages last.
func stageTimes(sc *scenario.Scenario) (d []time.Duration) {
	for i := range sc.Stages {
		d = append(d, sc.Stages[i].Duration)
	}
	return d
}

const threeKinds = `
fleet:
  groups:
    - {name: robots, count: 1000, reported: {connectivity: {type: wifi}}}
    - {name: vehicles, count: 300}
    - {name: gateways, count: 5}
stages:
  - {name: ramp, duration: 20s, devices: 1305, steps: [{await: {connected: 1305}}, {statistics: {expect: 1305}}]}
  - {name: half, duration: 20s, devices: 50%}
  - {name: down, duration: 10s, devices: 100}
  - {name: off, duration: 10s, devices: 0}
`

func TestFleetOfAnotherSize(t *testing.T) {
	for _, x := range []struct {
		devices        int
		groups, stages []int
	}{
		{0, []int{1000, 300, 5}, []int{1305, 653, 100, 0}},
		{1305, []int{1000, 300, 5}, []int{1305, 653, 100, 0}},
		{2610, []int{2000, 600, 10}, []int{2610, 1305, 200, 0}},
		{131, []int{100, 30, 1}, []int{131, 66, 10, 0}},
		{20, []int{14, 5, 1}, []int{20, 10, 2, 0}},
		{5, []int{3, 1, 1}, []int{5, 3, 1, 0}},
		{3, []int{1, 1, 1}, []int{3, 2, 1, 0}},
	} {
		sc := decode(t, threeKinds, scenario.Options{Devices: x.devices})
		if got := groupCounts(sc); !slices.Equal(got, x.groups) {
			t.Errorf("groups of %d devices: %v; want %v", x.devices, got, x.groups)
		}
		if got := stageDevices(sc); !slices.Equal(got, x.stages) {
			t.Errorf("stages of %d devices: %v; want %v", x.devices, got, x.stages)
		}
		steps := sc.Stages[0].Steps
		if got := steps[0].Await.Connected; got != x.stages[0] {
			t.Errorf("%d devices are awaited of %d", got, x.stages[0])
		}
		if got := steps[1].Statistics.Expect; got != 1305 {
			t.Errorf("%d identities are expected; what is expected of the target does not follow", got)
		}
	}
}

// What a step waits for is never more than its stage has: each number was rounded for itself.
func TestAwaitOfAnotherSize(t *testing.T) {
	const text = `
fleet: {groups: [{name: a, count: 10}, {name: b, count: 10}, {name: c, count: 10}]}
stages:
  - {name: s, duration: 3s, devices: {b: 10, c: 10}, steps: [{await: {connected: 20}}, {await: {connected: 17}}, {await: {connected: 100%}}, {await: {connected: 25}}]}
`
	for n := 3; n < 100; n++ {
		sc := decode(t, text, scenario.Options{Devices: n})
		x := &sc.Stages[0]
		if got := x.Steps[0].Await.Connected; got != x.Devices {
			t.Errorf("of %d devices %d are awaited in a stage with %d", n, got, x.Devices)
		}
		if got := x.Steps[1].Await.Connected; got > x.Devices || float64(got) < 17*float64(n)/30-1.5 {
			t.Errorf("of %d devices %d are awaited in a stage with %d", n, got, x.Devices)
		}
		if got := x.Steps[2].Await.Connected; got != n {
			t.Errorf("100%% of %d are %d", n, got)
		}
		if got := decode(t, string(sc.Source), scenario.Options{}).Stages[0].Steps[0].Await.Connected; got != x.Devices {
			t.Errorf("the record awaits %d; want %d", got, x.Devices)
		}
	}
}

// More devices come faster: stages stay as long as they were.
func TestRatesOfAnotherSize(t *testing.T) {
	for _, n := range []int{1, 7, 100, 999} {
		for i, got := range stageTimes(decode(t, faulty, scenario.Options{Devices: n})) {
			if want := stageTimes(decode(t, faulty, scenario.Options{}))[i]; got != want {
				t.Errorf("stage %d of %d devices lasts %s; want %s", i, n, got, want)
			}
		}
		sc := decode(t, faulty, scenario.Options{Devices: n})
		if got, want := *sc.Stages[0].ConnectRate, float64(n)/10; math.Abs(got.To-want) > 1e-9 || got.From != got.To {
			t.Errorf("%d devices come at %s; want %g/s", n, got, want)
		}
	}
}

// Groups keep their proportions as nearly as whole devices can: nobody is more than one off, but for those who would
// have none.
func TestProportions(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		counts := rapid.SliceOfN(rapid.IntRange(1, 5000), 1, 6).Draw(rt, "counts")
		want, whole := rapid.IntRange(len(counts), 20_000).Draw(rt, "devices"), 0
		text := "fleet:\n  groups:\n"
		for i, n := range counts {
			whole += n
			text += "    - {name: g" + string(rune('a'+i)) + ", count: " + strconv.Itoa(n) + "}\n"
		}
		sc, err := scenario.Decode("x.yaml", []byte(text+"stages: [{name: s, duration: 1s, devices: "+strconv.Itoa(whole)+"}]\n"), scenario.Options{Devices: want})
		if err != nil {
			rt.Fatal(err)
		}
		if sc.Devices() != want || sc.Stages[0].Devices != want {
			rt.Fatalf("%d devices, %d in the stage; want %d", sc.Devices(), sc.Stages[0].Devices, want)
		}
		for i, n := range groupCounts(sc) {
			exact := float64(counts[i]) * float64(want) / float64(whole)
			if n < 1 || float64(n) >= exact+1 && n > 1 || float64(n) <= exact-1-float64(len(counts)) {
				rt.Fatalf("%d devices of %v are %v; group %d should have %.2f", want, counts, groupCounts(sc), i, exact)
			}
		}
	})
}

const faulty = `
fleet: {groups: [{name: robots, count: 100, reported: {connectivity: {type: wifi}}}]}
stages:
  - {name: come, devices: 100, connect_rate: 10/s, hub: {refuse: 1s}}
  - {name: storm, duration: 30s, storm: {drop: 50%, within: 3s}}
  - {name: check, steps: [{statistics: {}}]}
  - {name: apart, duration: 20s, network: {latency: 10ms, for: 20s, partition: {share: 30%, for: 10s}}}
  - {name: leave, duration: 20s, devices: 0, connect_rate: 0/s..10/s}
service:
  rollouts: [{name: r, group: robots, properties: {a: 1}, at: 2s, waves: [{percent: 10, for: 4s}, {percent: 100}]}]
  jobs: [{name: j, type: twin, tags: {a: 1}, stage: apart, at: 6s}]
`

func TestRunOfAnotherLength(t *testing.T) {
	sc := decode(t, faulty, scenario.Options{Duration: 8 * time.Second})
	if got, want := stageTimes(sc), []time.Duration{0, 3 * time.Second, 0, 2 * time.Second, 2 * time.Second}; !slices.Equal(got, want) {
		t.Errorf("stages last %v; want %v", got, want)
	}
	for _, x := range []struct {
		what      string
		got, want any
	}{
		{"connect_rate without a duration", *sc.Stages[0].ConnectRate, scenario.Range{From: 100, To: 100}},
		{"connect_rate with one", *sc.Stages[4].ConnectRate, scenario.Range{From: 0, To: 100}},
		{"hub.refuse", sc.Stages[0].Hub.Refuse, 100 * time.Millisecond},
		{"storm.within", sc.Stages[1].Storm.Within, 300 * time.Millisecond},
		{"network.for", sc.Stages[3].Network.For, 2 * time.Second},
		{"network.partition.for", sc.Stages[3].Network.Partition.For, time.Second},
		{"rollout at", sc.Service.Rollouts[0].At, 200 * time.Millisecond},
		{"wave for", sc.Service.Rollouts[0].Waves[0].For, 400 * time.Millisecond},
		{"job at", sc.Service.Jobs[0].At, 600 * time.Millisecond},
	} {
		if x.got != x.want {
			t.Errorf("%s: %v; want %v", x.what, x.got, x.want)
		}
	}
	if want := "--duration 8s: the stages last 8s together instead of 1m20s, and the times in them follow"; !slices.Equal(sc.Scaled, []string{want}) {
		t.Errorf("%q; want %q", sc.Scaled, want)
	}
}

// The stages last as long as was asked, to the millisecond, however many there are.
func TestLengthsAddUp(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		lengths := rapid.SliceOfN(rapid.IntRange(1000, 500_000), 1, 8).Draw(rt, "lengths")
		want := time.Duration(rapid.IntRange(8000, 10_000_000).Draw(rt, "duration")) * time.Millisecond
		text := "fleet: {groups: [{name: robots}]}\nstages:\n"
		for i, n := range lengths {
			text += "  - {name: s" + strconv.Itoa(i) + ", duration: " + strconv.Itoa(n) + "ms}\n"
		}
		sc, err := scenario.Decode("x.yaml", []byte(text), scenario.Options{Duration: want})
		if err != nil {
			rt.Fatal(err)
		}
		var sum time.Duration
		for _, d := range stageTimes(sc) {
			sum += d
		}
		if sum != want {
			rt.Fatalf("%v last %s together; want %s", stageTimes(sc), sum, want)
		}
	})
}

// What a record keeps of a scenario is the run of the size that was asked for.
func TestSourceOfAnotherSize(t *testing.T) {
	for _, text := range []string{threeKinds, faulty} {
		sc := decode(t, text, scenario.Options{Devices: 37, Duration: 7 * time.Second})
		same := decode(t, string(sc.Source), scenario.Options{})
		if !slices.Equal(groupCounts(sc), groupCounts(same)) || !slices.Equal(stageDevices(sc), stageDevices(same)) || !slices.Equal(stageTimes(sc),
			stageTimes(same)) {
			t.Errorf("the source is of another size:\n%s", sc.Source)
		}
		for i := range sc.Stages {
			a, b := &sc.Stages[i], &same.Stages[i]
			if !reflect.DeepEqual(a.ConnectRate, b.ConnectRate) || !reflect.DeepEqual(a.Storm, b.Storm) || !reflect.DeepEqual(a.Network, b.Network) ||
				!reflect.DeepEqual(a.Hub, b.Hub) {
				t.Errorf("stage %s differs:\n%s", a.Name, sc.Source)
			}
		}
	}
}

func TestSizesThatCannotBe(t *testing.T) {
	const file = "target: {hub: \"HostName=h;SharedAccessKeyName=o;SharedAccessKey=aHVzaA==\"}\nfleet: {groups: [{name: robots, count: 1, identity: {file: " +
		"two.csv}}, {name: gates}]}\nstages: [{name: s, duration: 1s, devices: 100%}]\n"
	for _, x := range []struct {
		text string
		o    scenario.Options
		want string
	}{
		{threeKinds, scenario.Options{Devices: 2}, "--devices: 2 devices for 3 groups, of which each keeps one at least; use 3 to 10000000"},
		{threeKinds, scenario.Options{Devices: -4}, "--devices: -4 devices for 3 groups"},
		{threeKinds, scenario.Options{Duration: -time.Second}, "--duration: -1s for 4 stages; use 4ms to"},
		{threeKinds, scenario.Options{Duration: time.Millisecond}, "--duration: 1ms for 4 stages; use 4ms to"},
		{file, scenario.Options{Devices: 6}, "--devices: group robots would have 3 devices, but two.csv has 2; ask for fewer, or put more into the file"},
		{
			"fleet: {groups: [{name: robots}]}\nstages: [{name: s, devices: 1, steps: [{await: {connected: 1}}]}]\n",
			scenario.Options{Duration: time.Second},
			"--duration: no stage says how long it lasts",
		},
		{
			"fleet: {groups: [{name: robots, count: 90000}]}\nstages: [{name: s, devices: 90000, connect_rate: 1000/s}]\n",
			scenario.Options{Duration: 10 * time.Millisecond},
			"the devices of stage s would come or go at 9000000/s",
		},
	} {
		x.o.ReadFile = readFile
		_, err := scenario.Decode("sized.yaml", []byte(x.text), x.o)
		if err == nil || !strings.Contains(err.Error(), x.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%+v: %v; want %q alone", x.o, err, x.want)
		}
	}
	sc := decode(t, file, scenario.Options{Devices: 4, ReadFile: readFile})
	if got := groupCounts(sc); !slices.Equal(got, []int{2, 2}) || len(sc.Fleet.Groups[0].Identity.Devices) != 2 {
		t.Errorf("a file of two devices gives %v", got)
	}
}

// Every example and template can be made small and short.
func TestExamplesOfAnySizeAndLength(t *testing.T) {
	files, err := filepath.Glob("../configs/*/*.yaml")
	if err != nil || len(files) < 10 {
		t.Fatalf("no examples: %v", err)
	}
	o := options()
	o.ReadFile = nil
	o.Lookup = func(string) (string, bool) { return "mqtt://127.0.0.1:1883", true }
	for _, file := range files {
		if filepath.Base(filepath.Dir(file)) == "kubernetes" {
			continue // manifests, and a scenario that names its hub
		}
		if strings.Contains(file, "getting-started") {
			continue // one device, and steps that take what they take
		}
		o.Devices, o.Duration = 202, 0
		for range 2 {
			sc, err := scenario.Load(file, o)
			if err != nil {
				t.Error(err)
			} else if sc.Devices() != 202 {
				t.Errorf("%s: %d devices", file, sc.Devices())
			}
			o.Duration = 20 * time.Second
		}
	}
}
