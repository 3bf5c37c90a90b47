package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/internal/fit"
	"github.com/twinfleet/twinfleet/internal/host"
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

// In how many processes the hub runs, and whether they have enough descriptors: it is the devices active at once that count, as doctor counts them.
func TestHubProcesses(t *testing.T) {
	for _, x := range []struct {
		devices, active int // active is devices when 0
		asked, files    int // 20,000 files when 0
		tier            string
		want            int
		says            string
	}{
		{devices: 5, want: 1},
		{devices: 15_000, want: 1},
		{devices: 15_001, want: 2},
		{devices: 60_000, want: 4},
		{devices: 60_000, active: 15_000, want: 1},
		{devices: 60_000, asked: 1, want: 1, says: "in 1 process the embedded hub needs 60,072 descriptors, and may have 20,000 (ulimit -n); --hubs 4 is enough"},
		{
			devices: 60_000, asked: 2, want: 2,
			says: "in 2 processes the embedded hub needs 30,072 descriptors each, and may have 20,000 (ulimit -n); --hubs 4 is enough",
		},
		{devices: 5, asked: 3, want: 3},
		{devices: 19_928, tier: "S1", want: 1},
		{
			devices: 19_929, tier: "S1", want: 1,
			says: "in 1 process the embedded hub needs 20,001 descriptors, and may have 20,000 (ulimit -n); --hubs 2 is enough, as so many hubs, each with the limits of 2 units of S1",
		},
		{devices: 19_929, tier: "S1", asked: 2, want: 2},
		{devices: 400, active: 10, asked: 1, files: 300, want: 1},
		{devices: 400, active: 10, asked: 1, files: 82, want: 1},
		{
			devices: 400, active: 10, asked: 1, files: 60, want: 1,
			says: "in 1 process the embedded hub needs 82 descriptors, and may have 60 (ulimit -n); no number of --hubs is enough",
		},
	} {
		tier, active := "", cmp.Or(x.active, x.devices)
		if x.tier != "" {
			tier = "tier: " + x.tier + ", units: 2"
		}
		text := fmt.Sprintf("target: {%s}\nfleet: {groups: [{name: robots, count: %d}]}\nstages: [{name: hold, duration: 1s, devices: %d}]\n", tier, x.devices, active)
		sc, err := scenario.Decode("test.yaml", []byte(text), scenario.Options{})
		if err != nil {
			t.Fatal(err)
		}
		got, err := hubProcesses(sc, fit.Active(sc), x.asked)
		if err != nil || got != x.want {
			t.Errorf("%d of %d devices, %d asked for: %d, %v; want %d", active, x.devices, x.asked, got, err, x.want)
		}
		says := ""
		if err := roomInHubs(sc, got, host.Facts{Cores: 2, Descriptors: cmp.Or(x.files, 20_000)}); err != nil {
			says = err.Error()
		}
		if says != x.says {
			t.Errorf("%d of %d devices, %d asked for: %s; want %s", active, x.devices, x.asked, says, x.says)
		}
		if err := roomInHubs(sc, got, host.Facts{Cores: 2}); err != nil {
			t.Errorf("without a limit: %v", err)
		}
	}
	if _, err := hubProcesses(&scenario.Scenario{}, 0, -1); err == nil {
		t.Error("-1 hubs are no error")
	}
}
