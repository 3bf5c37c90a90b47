package scenario_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/twinfleet/twinfleet/scenario"
)

// decode decodes a scenario that must be valid.
func decode(t *testing.T, text string, o scenario.Options) *scenario.Scenario {
	t.Helper()
	sc, err := scenario.Decode("sized.yaml", []byte(text), o)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return sc
}

// stageDevices are the devices at the ends of the stages.
func stageDevices(sc *scenario.Scenario) (n []int) {
	for i := range sc.Stages {
		n = append(n, sc.Stages[i].Devices)
	}
	return n
}

func TestSharesOfTheFleet(t *testing.T) {
	for _, x := range []struct {
		robots, gates int
		shares        []string
		want          []int
	}{
		{150, 50, []string{"100%", "50%", "12.5%", "0%"}, []int{200, 100, 25, 0}},
		{2, 1, []string{"100%", "50%", "49%", "1%", "0%"}, []int{3, 2, 1, 1, 0}},
		{1, 1, []string{"0.001%", "74%", "75%"}, []int{1, 1, 2}},
	} {
		text := fmt.Sprintf("fleet: {groups: [{name: robots, count: %d}, {name: gates, count: %d}]}\nstages:\n", x.robots, x.gates)
		for i, share := range x.shares {
			text += fmt.Sprintf("  - {name: s%d, duration: 1s, devices: %s}\n", i, share)
		}
		if got := stageDevices(decode(t, text, scenario.Options{})); !slices.Equal(got, x.want) {
			t.Errorf("%v of %d devices are %v; want %v", x.shares, x.robots+x.gates, got, x.want)
		}
	}
}

// Groups have numbers of their own, and shares of their own devices; the stage has them together.
func TestDevicesByGroup(t *testing.T) {
	const text = `
fleet: {groups: [{name: robots, count: 1000}, {name: gates, count: 8}, {name: doors, count: 92}]}
stages:
  - {name: robots, duration: 1s, devices: {robots: 100, gates: 5}}
  - {name: doors, duration: 1s, devices: {doors: 50%}}
  - {name: hold, duration: 1s}
  - {name: all, duration: 1s, devices: 100%}
  - {name: last, duration: 1s, devices: {robots: 0, doors: 0.1%}}
  - {name: off, duration: 1s, devices: 0}
`
	for _, x := range []struct {
		devices int
		totals  []int
		groups  [][]int
	}{
		{0, []int{105, 151, 151, 1100, 9, 0}, [][]int{{100, 5, 0}, {100, 5, 46}, {100, 5, 46}, {1000, 8, 92}, {0, 8, 1}, {0, 0, 0}}},
		{2200, []int{210, 302, 302, 2200, 17, 0}, [][]int{{200, 10, 0}, {200, 10, 92}, {200, 10, 92}, {2000, 16, 184}, {0, 16, 1}, {0, 0, 0}}},
		{11, []int{2, 3, 3, 11, 2, 0}, [][]int{{1, 1, 0}, {1, 1, 1}, {1, 1, 1}, {9, 1, 1}, {0, 1, 1}, {0, 0, 0}}},
	} {
		sc := decode(t, text, scenario.Options{Devices: x.devices})
		for i := range sc.Stages {
			if got := sc.ActiveAt(i); sc.Stages[i].Devices != x.totals[i] && sc.Stages[i].Devices >= 0 || !slices.Equal(got, x.groups[i]) {
				t.Errorf("%d devices: at the end of %s there are %d, %v; want %d, %v", x.devices, sc.Stages[i].Name, sc.Stages[i].Devices, got, x.totals[i], x.groups[i])
			}
		}
		// The record's scenario is the one that ran.
		recorded := decode(t, string(sc.Source), scenario.Options{})
		for i := range sc.Stages {
			if !slices.Equal(recorded.ActiveAt(i), sc.ActiveAt(i)) {
				t.Errorf("%d devices: the record's stage %s has %v; want %v", x.devices, sc.Stages[i].Name, recorded.ActiveAt(i), sc.ActiveAt(i))
			}
		}
	}
}

// Wherever a scenario counts devices of the fleet, a share of them will do.
func TestSharesEverywhere(t *testing.T) {
	sc := decode(t, `
fleet: {groups: [{name: robots, count: 40, reported: {connectivity: {type: wifi}}}]}
stages:
  - name: up
    devices: 100%
    duration: 1s
    steps: [{statistics: {expect: 100%}}, {query: {name: all, expect: 50%}}, {await: {connected: 75%, reported: 100%}}]
service:
  queries: [{name: all, sql: SELECT * FROM devices, expect: 100%}, {name: most, sql: SELECT * FROM devices, expect: ">= 90%"}]
`, options("fleet.groups.robots.count=20"))
	steps := sc.Stages[0].Steps
	got := []int{
		sc.Stages[0].Devices, steps[0].Statistics.Expect, steps[1].Query.Expect, steps[2].Await.Connected, steps[2].Await.Reported,
		sc.Service.Queries[0].Expect.Count, sc.Service.Queries[1].Expect.Count,
	}
	if want := []int{20, 20, 10, 15, 20, 20, 18}; !slices.Equal(got, want) {
		t.Errorf("shares of 20 devices are %v; want %v", got, want)
	}
	if op := sc.Service.Queries[1].Expect.Op; op != ">=" {
		t.Errorf("the comparison is %q", op)
	}
}

// One number makes an example smaller: nothing else in it says how many devices there are.
func TestExamplesOfAnySize(t *testing.T) {
	files, err := filepath.Glob("../configs/scenarios/*.yaml")
	templates, _ := filepath.Glob("../configs/templates/*.yaml")
	if err != nil || len(files) == 0 || len(templates) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	o := options()
	o.ReadFile = nil
	o.Lookup = func(string) (string, bool) { return "mqtt://127.0.0.1:1883", true }
	for _, file := range append(files, templates...) {
		o.Set = nil
		sc, err := scenario.Load(file, o)
		if err != nil {
			t.Error(err)
			continue
		}
		if sc.Devices() == 1 {
			continue // of the tutorial, with an id of its own
		}
		o.Set = []string{"fleet.groups." + sc.Fleet.Groups[0].Name + ".count=5"}
		if _, err := scenario.Load(file, o); err != nil {
			t.Error(err)
		}
	}
}
