package fleet

import (
	"errors"
	"strconv"
	"time"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/internal/fleet/loss"
	"github.com/twinfleet/twinfleet/metrics"
)

// reasonOf says in a few words why an operation of the device ended badly.
func (d *device) reasonOf(err error) string {
	if errors.Is(err, link.ErrLost) {
		return link.ErrLost.Error()
	}
	return d.fleet.whys.Refused(err, d.id)
}

// countLoss counts why the connection of a session was lost that is over, by the error that its driver gave: nil when this side ended it.
func (d *device) countLoss(lost error, now time.Time) {
	why := ""
	switch {
	case errors.Is(d.why, errCut):
		why, lost = loss.Storm, errCut
	case lost == nil, asked(d.why) && errors.Is(lost, link.ErrLost): // it left, and the target may not have heard of it
		return
	default:
		why = d.fleet.whys.Of(lost, d.id)
	}
	d.group.connect.Lost(now, why)
	d.fleet.log.Debug("connection lost", "device", d.id, "reason", why, "error", lost)
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
