package fleet

import (
	"errors"
	"strconv"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/metrics/reason"
)

// reasonOf says in a few words why an operation of a device ended badly.
func reasonOf(err error) string {
	switch {
	case errors.Is(err, link.ErrLost):
		return link.ErrLost.Error()
	default:
		return reason.Of(err)
	}
}

// endReason is why an operation ended that nobody answered: unless its time was up, it went with its connection.
func endReason(o metrics.Outcome) string {
	switch o {
	case metrics.Failed:
		return link.ErrLost.Error()
	case metrics.Unanswered:
		return stoppedFirst
	}
	return ""
}

// stoppedFirst is why an operation has no answer that was still waited for.
const stoppedFirst = "the run was stopped first"

// neverItsTurn is why an operation that waited for others to be answered has no answer itself.
const neverItsTurn = "others were not answered before it"

// statusReason is why an operation ended badly that was answered with a status.
func statusReason(status int) string { return "status " + strconv.Itoa(status) }
