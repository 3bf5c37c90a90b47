package report_test

import (
	"fmt"
	"time"

	"github.com/twinfleet/twinfleet/report"
)

// A program that watches a run needs only the functions of what it wants to know.
func ExampleFuncs() {
	var watcher report.Observer = report.Funcs{
		OnEvent: func(e report.Event) {
			if e.Kind == report.KindOutage && !e.OK {
				fmt.Println("page somebody:", e.Text)
			}
		},
		OnEnd: func(r *report.Run) error {
			fmt.Println(r.Name, r.Outcome)
			return nil
		},
	}
	run := &report.Run{Name: "connectivity", Outcome: report.Passed}
	if err := watcher.Begin(run); err != nil { // all of this is what an engine does
		fmt.Println(err)
		return
	}
	watcher.Event(report.Event{At: time.Minute, Kind: report.KindOutage, Text: "devices lost their connections"})
	if err := watcher.End(run); err != nil {
		fmt.Println(err)
	}
	// Output:
	// page somebody: devices lost their connections
	// connectivity passed
}

func ExampleOutage() {
	o := report.Outage{
		From: 30 * time.Second, To: 33 * time.Second, Lost: 2000, Total: 2400, Recovered: true, AllBack: 4 * time.Second,
		Returns: []int{400, 1600, 380, 20}, Every: time.Second,
	}
	fmt.Println(o)
	fmt.Println(o.Return())
	// Output:
	// outage at 30.0s: 2,400 connections were lost, 2,000 devices were gone at once; 99 % were back after 3.00s
	// came back ▂█▂▁  at most 1,600/s, 1.00s after it began; all were back after 4.00s
}
