package account_test

import (
	"fmt"

	"github.com/twinfleet/twinfleet/report/account"
	"github.com/twinfleet/twinfleet/report/reporttest"
)

// Nothing that was due can vanish.
func ExampleOfRun() {
	run := reporttest.Example(10).Run
	all := account.OfRun(run)
	fmt.Println(all)
	for _, stage := range account.Stages(run) {
		fmt.Println(stage.Name, stage.Scheduled, stage.Well())
	}
	// Output:
	// 1,234 = ok 1,208 + throttled 12 + error 2 + unanswered 2 + dropped 10 (in_flight 10)
	// ramp 617 false
	// hold 617 false
}
