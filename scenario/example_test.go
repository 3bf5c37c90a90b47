package scenario_test

import (
	"errors"
	"fmt"

	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/problem"
)

// A scenario is decoded with its defaults, and with what is set from outside.
func ExampleDecode() {
	s, err := scenario.Decode("ramp.yaml", []byte(`
fleet: {groups: [{name: robots, count: 100, reported: {connectivity: {type: wifi}, every: 15s}}]}
stages: [{name: ramp, duration: 1m, devices: 100%}, {name: hold, duration: 4m}]
`), scenario.Options{Set: []string{"seed=7"}, Devices: 2000})
	if err != nil {
		fmt.Println(err)
		return
	}
	robots := s.Group("robots")
	fmt.Println(s.Name, s.Seed, s.Devices(), robots.DeviceID(0), robots.Timeout, s.Target.Can().Name, s.Stages[0].Devices)
	// Output: ramp 7 2000 robots-000000 30s embedded hub 2000
}

// Every mistake is told of at once, with its place.
func ExampleDecode_mistakes() {
	_, err := scenario.Decode("ramp.yaml", []byte(`
fleet: {groups: [{name: robots, count: many}]}
stages: [{name: ramp, duratoin: 1m, devices: 1}]
`), scenario.Options{})
	var mistakes problem.List
	if errors.As(err, &mistakes) {
		for _, m := range mistakes {
			fmt.Println(m.Line, m.Path, m.Text)
		}
	}
	// Output:
	// 2 fleet.groups[0].count "many" is not a whole number
	// 3 stages[0].duratoin unknown key; did you mean duration?
}
