package findings_test

import (
	"fmt"

	"github.com/twinfleet/twinfleet/report/findings"
	"github.com/twinfleet/twinfleet/report/reporttest"
)

// A chat message holds what is no good news alone.
func ExampleOf() {
	for _, f := range findings.Of(reporttest.Example(60).Run) {
		if f.Mark == findings.Bad {
			fmt.Println(f.Text)
		}
	}
	// Output:
	// rollout firmware, wave 2 of 3 to 50 %: 1,199 patched of 1,200, 1,000 told, 900 answered, after 30.0s; 300 failed, the rollout stopped
	// job retag completed: 2,999 of 3,000 devices done, 1 failed after 4.00s: the job did not do all its devices: 1 of 3000 failed
	// acknowledged reports: the twins of 199 of 200 devices hold all of them
}
