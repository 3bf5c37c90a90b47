package human_test

import (
	"fmt"
	"time"

	"github.com/twinfleet/twinfleet/report/human"
)

func ExampleDuration() {
	for _, d := range []time.Duration{850 * time.Microsecond, 12345 * time.Microsecond, 1250 * time.Millisecond, 125 * time.Second} {
		fmt.Println(human.Duration(d))
	}
	// Output:
	// 850µs
	// 12.3ms
	// 1.25s
	// 2m05s
}

func ExampleNumber() {
	fmt.Println(human.Number(1, "device"), human.Number(50_000, "device"), human.Number(2, "identity"), human.Rate(1666.7))
	// Output: 1 device 50,000 devices 2 identities 1,667/s
}

// Bars show how devices came back after an outage.
func ExampleSpark() {
	fmt.Println(human.Spark([]int{0, 200, 1500, 700, 100}))
	// Output:  ▂█▄▁
}

func ExampleColumns() {
	rows := [][]string{{"operation", "p99"}, {"connect", "31.2ms"}, {"twin_report", "7.04ms"}}
	for _, line := range human.Columns(rows, func(column int) bool { return column > 0 }) {
		fmt.Println(line)
	}
	// Output:
	// operation       p99
	// connect      31.2ms
	// twin_report  7.04ms
}
