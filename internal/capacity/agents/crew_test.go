package agents_test

import (
	"testing"

	"github.com/twinfleet/twinfleet/internal/capacity/agents"
	"github.com/twinfleet/twinfleet/internal/capacity/search"
	"github.com/twinfleet/twinfleet/internal/capacity/trial"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/scenario"
)

// The ports that an agent elsewhere was seen to have are those of all its addresses towards all hubs, and hold no more devices than those.
func TestPortsElsewhere(t *testing.T) {
	const one = `{hub: "mqtt://192.0.2.1:1883"}`
	const two = `{plain: true, hubs: ["HostName=192.0.2.1:1;SharedAccessKeyName=iothubowner;SharedAccessKey=AAAA", "HostName=192.0.2.1:2;SharedAccessKeyName=iothubowner;SharedAccessKey=AAAA"]}`
	for _, x := range []struct {
		name, target, addresses string
		holds                   int
		limit                   string
	}{
		{"one address, one hub", one, "[]", 4000, "4,000 local ports"},
		{"two addresses, one hub", one, "[192.0.2.7, 192.0.2.8]", 4000, "2,000 local ports of each of 2 source addresses"},
		{"one address, two hubs", two, "[]", 3960, "2,000 local ports towards each of 2 hubs"}, // without the 40 of the service side
		{"two addresses, two hubs", two, "[192.0.2.7, 192.0.2.8]", 3960, "1,000 local ports of each of 2 source addresses towards each of 2 hubs"},
	} {
		text := "target: " + x.target + "\nfleet: {client: lean, source_addresses: " + x.addresses + ", groups: [{name: robots, count: 19000, telemetry: {every: 30s, payload: {x: 1}}}]}\n" +
			"stages: [{name: up, duration: 1m, devices: 100%}]\n"
		need := agents.Crew{Agents: 1, Elsewhere: true}.Need(agents.Trials{
			Vary: trial.Devices, Make: func(float64) (*scenario.Scenario, error) {
				return scenario.Decode("far.yaml", []byte(text), scenario.Options{})
			},
			Records: []trial.Record{{
				Load: 19_000, Devices: 19_000, Verdict: search.Undelivered, Limit: trial.ByGenerator,
				Uses: []trial.Use{{Devices: 19_000, Operations: 600, Due: 700, Processors: 0.1, Cores: 8, Short: []report.CauseKind{report.CausePorts}, Descriptors: 1 << 20, Memory: 64e9, Ports: 4000}},
			}},
		})
		if need == nil || need.Unknown != "" || need.Holds != x.holds || need.Limit != x.limit || need.Machines != 5 {
			t.Errorf("%s: %+v; want %d devices by %q, 5 machines", x.name, need, x.holds, x.limit)
		}
	}
}

// What operations take of a process that has the embedded hub in it is not all the devices': the hub has its part.
func TestHubInTheProcess(t *testing.T) {
	const text = `
fleet: {client: lean, groups: [{name: robots, count: 20000, telemetry: {every: 1s, payload: {x: 1}}}]}
stages: [{name: up, duration: 1m, devices: 100%}, {name: hold, duration: 1m}]
`
	for n, least := range []float64{0.2, 0} { // with agents the hub is in processes of its own
		need := agents.Crew{Agents: n}.Need(agents.Trials{
			Vary: trial.Devices, Make: func(float64) (*scenario.Scenario, error) {
				return scenario.Decode("here.yaml", []byte(text), scenario.Options{})
			},
			Records: []trial.Record{{
				Load: 20_000, Devices: 20_000, Verdict: search.Undelivered, Limit: trial.ByGenerator,
				Uses: []trial.Use{{Devices: 20_000, Operations: 18_000, Due: 20_000, Processors: 1.9, Cores: 2, Short: []report.CauseKind{report.CauseProcess}}},
			}},
		})
		if need == nil || need.Cost.HubShare < least || need.Cost.HubShare > 4*least {
			t.Errorf("%d agents: %+v", n, need)
		}
	}
}
