package cron_test

import (
	"fmt"
	"time"

	"github.com/twinfleet/twinfleet/schedule/cron"
)

// Nightly at half past two in Berlin, also in the night in which the clock skips that time.
func ExampleParse() {
	nightly, err := cron.Parse("CRON_TZ=Europe/Berlin 30 2 * * *")
	if err != nil {
		fmt.Println(err)
		return
	}
	at := time.Date(2026, 3, 27, 12, 0, 0, 0, time.UTC)
	for range 3 {
		at = nightly.After(at)
		fmt.Println(at.Format(time.RFC3339))
	}
	// Output:
	// 2026-03-28T01:30:00Z
	// 2026-03-29T01:00:00Z
	// 2026-03-30T00:30:00Z
}

// Mistakes say what would be right.
func ExampleParse_mistake() {
	_, err := cron.Parse("@every 5m")
	fmt.Println(err)
	// Output: cron expression "@every 5m": write an interval as every
}
