package color_test

import (
	"fmt"

	"github.com/twinfleet/twinfleet/report/color"
)

func ExampleStyle() {
	for _, s := range []color.Style{{}, {Color: true}} {
		fmt.Printf("%q\n", s.Mark(true)+" "+s.Bad("3 of 5"))
	}
	// Output:
	// "✓ 3 of 5"
	// "\x1b[32m✓\x1b[0m \x1b[31m3 of 5\x1b[0m"
}
