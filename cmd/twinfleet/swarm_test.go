package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/scenario"
)

// A process that is the hub of a scenario behaves as one in the run's process: what the scenario does not say is the default, said so that no
// variable of the environment takes its place. It takes its own flags.
func TestHubArgs(t *testing.T) {
	for _, x := range []struct{ target, want string }{
		{"{}", "--page=false --seed 7 --query-lag  --armed=true"},
		{
			"{tier: S1, units: 3, burst: 5s, query_lag: 500ms..3s}",
			"--page=false --seed 7 --query-lag 500ms..3s --armed=false --tier S1 --units 3 --burst 5s --backlog 10s --max-wait 10s --split-twin-limits=false",
		},
	} {
		text := "seed: 7\ntarget: " + x.target + "\nfleet: {groups: [{name: robots, count: 5}]}\nstages: [{name: hold, duration: 1s, devices: 5}]\n"
		sc, err := scenario.Decode("test.yaml", []byte(text), scenario.Options{})
		if err != nil {
			t.Fatal(err)
		}
		args := hubArgs(sc)
		if got := strings.Join(args, " "); got != x.want {
			t.Errorf("%s: %s; want %s", x.target, got, x.want)
		}
		if err := newHub(env{}).ParseFlags(args); err != nil {
			t.Errorf("%s: %v", x.target, err)
		}
	}
}

// What the environment says for other commands is not for the processes of a run, but for how they log.
func TestOthers(t *testing.T) {
	got := others([]string{"PATH=/bin", "TWINFLEET_BACKLOG=1s", "TWINFLEET_CONFIG=run.yaml", "TWINFLEET_LOG_LEVEL=debug", "HOME=/"})
	if want := []string{"TWINFLEET_BACKLOG=", "TWINFLEET_CONFIG="}; !slices.Equal(got, want) {
		t.Errorf("%q; want %q", got, want)
	}
}

func TestHubProcesses(t *testing.T) {
	for _, x := range []struct{ devices, asked, want int }{{5, 0, 1}, {15_000, 0, 1}, {15_001, 0, 2}, {60_000, 0, 4}, {60_000, 1, 1}, {5, 3, 3}} {
		sc := &scenario.Scenario{Fleet: scenario.Fleet{Groups: []scenario.Group{{Name: "robots", Count: x.devices}}}}
		if got := hubProcesses(sc, x.asked); got != x.want {
			t.Errorf("%d devices, %d asked for: %d; want %d", x.devices, x.asked, got, x.want)
		}
	}
}
