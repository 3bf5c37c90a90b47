package vain

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report"
)

// Unreached says that devices tried to connect and never once did, of groups of which others did: their messages are in no figure, or dropped,
// and those of the others tell nothing of them. A device that had no time to try is none of them. A threshold on devices says how many may be
// missing, if it is about the group at the end of the run, and one on connections that wants them to fail; so does who ends a stage by
// hand, and a fault of the scenario that lasts to the end, but for devices that the target refuses. Groups that a provisioning service
// assigns are told of by Unprovisioned.
func (e *Evidence) Unreached() []string {
	if e.byHand() {
		return nil
	}
	var texts []string
	for i := range e.Run.Reach {
		r := &e.Run.Reach[i]
		if r.Connected == 0 || r.Connected >= r.Tried || e.provisions(r.Group) || e.counted(r.Group, math.MaxInt64) {
			continue
		}
		var causes []string
		refused, wanted := uint64(0), false
		for _, op := range []metrics.Operation{metrics.OpConnect, metrics.OpSubscribe} {
			x := e.Run.Totals.Find(op, r.Group)
			if x == nil || x.Errors()+x.Count(metrics.Throttled) == 0 {
				continue
			}
			refused += x.Count(metrics.Refused)
			wanted = wanted || e.wantsFailure(x)
			causes = append(causes, string(op)+": "+why(x))
		}
		if wanted || refused == 0 && e.endsFaulty() {
			continue
		}
		texts = append(texts, fmt.Sprintf("%s of %s tried to connect and never once did: %s", of(r.Tried-r.Connected, r.Devices), r.Group,
			cmp.Or(strings.Join(causes, "; "), "nothing is known of why")))
	}
	return texts
}

// provisions reports whether a provisioning service assigns the devices of a group.
func (e *Evidence) provisions(group string) bool {
	return slices.ContainsFunc(e.Run.Provisioned, func(p report.Provisioned) bool { return p.Group == group })
}

// endsFaulty reports whether a fault of the scenario may have lasted to the end of the run.
func (e *Evidence) endsFaulty() bool { return e.faulty(time.Duration(math.MaxInt64)) }
