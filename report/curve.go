package report

import (
	"fmt"

	"github.com/twinfleet/twinfleet/report/human"
)

// Return is how devices came back from the outage, in one line with its curve; "" when none did.
func (o Outage) Return() string {
	rate, at := o.Peak()
	if rate == 0 {
		return ""
	}
	all := "some were gone to the end"
	if o.AllBack > 0 {
		all = "all were back after " + human.Duration(o.AllBack)
	}
	return fmt.Sprintf("came back %s  at most %s, %s after it began; %s", human.Spark(o.Returns), human.Rate(rate), human.Duration(at), all)
}
