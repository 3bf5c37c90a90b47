package chance_test

import (
	"fmt"

	"github.com/twinfleet/twinfleet/schedule/chance"
)

// What a device draws at a turn depends on neither the draws before nor those of others.
func ExampleStream() {
	s := chance.NewStream(7, "temperature")
	tenth := s.Unit(3, 10)
	s.Unit(3, 0)
	s.Unit(4, 10)
	fmt.Println(tenth == s.Unit(3, 10), tenth == s.Unit(4, 10))
	// Output: true false
}

func ExampleParseDistribution() {
	for _, text := range []string{"250ms", "1s..3s", "~2s", "normal(2s, 500ms)"} {
		d, err := chance.ParseDistribution(text)
		fmt.Println(d, d.Mean(), err)
	}
	// Output:
	// 250ms 250ms <nil>
	// 1s..3s 2s <nil>
	// exp(2s) 2s <nil>
	// normal(2s, 500ms) 2s <nil>
}
