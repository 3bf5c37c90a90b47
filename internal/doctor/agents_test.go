package doctor

import (
	"testing"

	"github.com/twinfleet/twinfleet/internal/fit"
	"github.com/twinfleet/twinfleet/internal/host"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/plan"
)

// One line says what each agent needs, and one whether the machine holds all of them, with what helps.
func TestAgents(t *testing.T) {
	each := plan.Machine{Client: "lean", Memory: 120e6, Processors: 0.25, Descriptors: 15_032, PerAddress: 3_750, Addresses: 1, Destinations: 4, Agents: 4}
	hub := &fit.Hub{Processes: 4, Memory: 400e6, Processors: 1.5, Descriptors: 15_072}
	facts := host.Facts{Descriptors: 20_000, MemoryAvailable: 8e9}
	const needs = "ok each agent: 15,000 devices: about 120 MB of memory, 0.2 processors in the busiest second, 15,032 descriptors, " +
		"3,750 local ports towards each of 4 hubs, with the client lean\n"
	const chosen = "\nok source addresses: the system's choice"
	for _, x := range []struct {
		name string
		crew fit.Crew
		want string
	}{
		{
			"enough",
			fit.Crew{Agents: 4, Devices: 15_000, Room: fit.Room{Devices: 19_928, By: "20,000 descriptors"}},
			needs + "ok agents: this machine holds 4: up to 19,928 devices in each, by its 20,000 descriptors" + chosen,
		},
		{
			"nothing known",
			fit.Crew{Agents: 4, Devices: 15_000, Room: fit.Room{Devices: fit.Unbounded}},
			needs + "ok agents: this machine holds 4, as far as its limits are known" + chosen,
		},
		{
			"more agents help",
			fit.Crew{
				Agents: 4, Devices: 15_000, Room: fit.Room{Devices: 9_928, By: "10,000 descriptors"},
				Machines: fit.Spread{Machines: 1, Each: 7, Agents: 7, Room: fit.Room{Devices: 9_928, By: "10,000 descriptors"}},
			},
			needs + "problem agents: 4 with 15,000 devices each: this machine holds 9,928 in each of them, by its 10,000 descriptors; --agents 7" + chosen,
		},
		{
			"more machines help, beside the hub",
			fit.Crew{
				Agents: 4, Devices: 15_000, Room: fit.Room{Devices: 7_058, By: "7,058 local ports"}, Hub: hub,
				Machines: fit.Spread{Machines: 3, Each: 2, Agents: 5, Room: fit.Room{Devices: 14_116, By: "14,116 local ports"}},
			},
			"ok embedded hub: 4 processes on this machine: about 400 MB of memory and 1.5 processors in the busiest second together, 15,072 descriptors each\n" +
				needs + "problem agents: 4 with 15,000 devices each: this machine holds 7,058 in each of them beside the embedded hub, by its 7,058 local ports; " +
				"5 agents on 3 machines like this one, 2 on each (--beside 2): each holds 14,116 devices, by its 14,116 local ports" + chosen,
		},
		{
			"nothing helps",
			fit.Crew{Agents: 4, Devices: 15_000, Room: fit.Room{By: "10 descriptors"}},
			needs + "problem agents: 4 with 15,000 devices each: this machine holds 0 in each of them, by its 10 descriptors; no machine like this one holds an agent with a device" + chosen,
		},
	} {
		if got := lines(Agents(new(scenario.Scenario), &x.crew, each, facts)...); got != x.want {
			t.Errorf("%s:\n%s\nwant:\n%s", x.name, got, x.want)
		}
	}
	got := lines(hubOf(&fit.Hub{Processes: 1, Memory: 9e9, Descriptors: 60_072}, facts))
	if want := "problem embedded hub: 1 process on this machine: about 9,000 MB of memory and 0.0 processors in the busiest second together, 60,072 descriptors each; " +
		"give the machine or its container more memory, or run fewer devices"; got != want {
		t.Error(got)
	}
	got = lines(hubOf(&fit.Hub{Processes: 1, Memory: 1e9, Descriptors: 60_072}, facts))
	if want := "problem embedded hub: 1 process on this machine: about 1,000 MB of memory and 0.0 processors in the busiest second together, 60,072 descriptors each; " +
		"--hubs 4, or ulimit -n 76000"; got != want {
		t.Error(got)
	}
}
