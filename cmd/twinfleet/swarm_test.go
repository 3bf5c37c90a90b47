package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/scenario"
	spec "github.com/twinfleet/twinfleet/scenario/target"
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

// A hub is ready when it says where it listens, not when it logs something before, also as JSON.
func TestHubReady(t *testing.T) {
	ready, err := json.Marshal(announcement{Address: "127.0.0.1:8883"})
	if err != nil {
		t.Fatal(err)
	}
	logged := &bytes.Buffer{}
	slog.New(slog.NewJSONHandler(logged, nil)).Info("a certificate was made", "address", "localhost")
	for line, want := range map[string]bool{string(ready): true, logged.String(): false, "": false} {
		if got := hubReady("hub-1", line); got != want {
			t.Errorf("%s: ready is %t", line, got)
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
	const files = 20_000
	for _, x := range []struct {
		devices, asked int
		tier           string
		want           int
		says           string
	}{
		{devices: 5, want: 1},
		{devices: 15_000, want: 1},
		{devices: 15_001, want: 2},
		{devices: 60_000, want: 4},
		{devices: 60_000, asked: 1, want: 1, says: "in 1 process the embedded hub has room for 19,800 of 60,000 connections; --hubs 4 has it for all"},
		{devices: 5, asked: 3, want: 3},
		{devices: 19_800, tier: "S1", want: 1},
		{devices: 19_801, tier: "S1", want: 1, says: "in 1 process the embedded hub has room for 19,800 of 19,801 connections; --hubs 2 has it for all, as so many hubs, " +
			"each with the limits of 2 units of S1"},
		{devices: 19_801, tier: "S1", asked: 2, want: 2},
	} {
		sc := &scenario.Scenario{Target: spec.Target{Tier: x.tier, Units: 2}, Fleet: scenario.Fleet{Groups: []scenario.Group{{Name: "robots", Count: x.devices}}}}
		got, err := hubProcesses(sc, x.asked)
		if err != nil || got != x.want {
			t.Errorf("%d devices, %d asked for: %d, %v; want %d", x.devices, x.asked, got, err, x.want)
		}
		says := ""
		if err := roomInHubs(sc, got, files); err != nil {
			says = err.Error()
		}
		if says != x.says {
			t.Errorf("%d devices, %d asked for: %s; want %s", x.devices, x.asked, says, x.says)
		}
	}
	if _, err := hubProcesses(&scenario.Scenario{}, -1); err == nil {
		t.Error("-1 hubs are no error")
	}
}
