package schedule_test

import (
	"fmt"
	"time"

	"github.com/twinfleet/twinfleet/schedule"
)

// A rate that rises to 2 a second over 2 s has two events; each is due in the middle of its own unit.
func ExampleCurve_Even() {
	rate := schedule.Curve{{Duration: 2 * time.Second, From: 0, To: 2}}
	for at := range rate.Even() {
		fmt.Println(at.Round(time.Millisecond))
	}
	// Output:
	// 1s
	// 1.732s
}

// A number of devices that follows a ramp: one from the middle of its half on, two from the middle of the other.
func ExampleCurve_Steps() {
	devices := schedule.Curve{{Duration: 10 * time.Second, From: 0, To: 2}}
	for step := range devices.Steps(0) {
		fmt.Println(step.At, step.Count)
	}
	// Output:
	// 2.5s 1
	// 7.5s 2
}

// A device that comes back after losses waits longer each time, up to a bound.
func ExampleBackoff_Delay() {
	backoff := schedule.FixedBackoff()
	fmt.Println(backoff.Delay(0, 0.5), backoff.Delay(9, 0.5))
	// Output:
	// 10s 10s
}

// 25 devices, ten on a connection: the last connection has five.
func ExampleSharers() {
	fmt.Println(schedule.Sharers(13, 10, 25))
	fmt.Println(schedule.Sharers(20, 10, 25))
	fmt.Println(schedule.Sharers(20, 1, 25))
	// Output:
	// 10 20
	// 20 25
	// 20 21
}
