package plan_test

import (
	"fmt"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/plan"
)

const reports = `
name: reports
fleet: {groups: [{name: robots, count: 1400, reported: {connectivity: {type: wifi}, every: 30s}}]}
stages: [{name: ramp, duration: 1m, devices: 1400}, {name: hold, duration: 5m}]
`

// What a scenario will ask of its target is known before it runs.
func ExampleMake() {
	sc, err := scenario.Decode("reports.yaml", []byte(reports), scenario.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	p, err := plan.Make(sc, plan.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	load := p.Find(metrics.OpTwinReport)
	fmt.Printf("%.0f reports, at most %.1f/s, in stage %s\n", load.Total, load.Peak, load.PeakStage)
	fmt.Printf("%d local ports\n", p.Machine.PerAddress)
	// Output:
	// 16794 reports, at most 70.0/s, in stage ramp
	// 1440 local ports
}

// The same plan can be held to one tier after the other, to find the one that takes it.
func ExamplePlan_Hold() {
	sc, err := scenario.Decode("reports.yaml", []byte(reports), scenario.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	p, err := plan.Make(sc, plan.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, o := range []plan.Options{{Tier: "S1", Units: 1}, {Tier: "S2", Units: 1}} {
		if err := p.Hold(o); err != nil {
			fmt.Println(err)
			return
		}
		use, _ := p.Quota()
		fmt.Printf("%s: rates exceeded %t, quota lasts %t\n", p.Tier.Name(), len(p.Tier.Exceeded) > 0, use == plan.QuotaFits)
	}
	// Output:
	// S1, 1 unit: rates exceeded false, quota lasts false
	// S2, 1 unit: rates exceeded false, quota lasts true
}
