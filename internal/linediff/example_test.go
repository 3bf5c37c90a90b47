package linediff_test

import (
	"fmt"
	"strings"

	"github.com/twinfleet/twinfleet/internal/linediff"
)

func ExampleLines() {
	before := "name: world\nstages:\n- {devices: 100}\n"
	after := "name: world\nstages:\n- {devices: 200}\n"
	fmt.Println(strings.Join(linediff.Lines(before, after), "\n"))
	// Output:
	// - - {devices: 100}
	// + - {devices: 200}
}
