// Package purchase answers what must be bought for a scenario: the purchase, and what of the scenario would make it cheaper.
package purchase

import (
	"fmt"

	"github.com/twinfleet/twinfleet/internal/capacity/buy"
	"github.com/twinfleet/twinfleet/internal/capacity/change"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/plan"
)

// Options of Of.
type Options struct {
	Market buy.Market
	// Tier and Units are what to hold the scenario to as well; none when Tier is empty.
	Tier  string
	Units int
	// Resize is the scenario with another number of devices; nil when it cannot be resized.
	Resize func(devices int) (*scenario.Scenario, error)
}

// Of says what must be bought for a planned scenario; nil for a target that is no IoT Hub and stands for none, and for a scenario in
// which no device is ever active.
func Of(sc *scenario.Scenario, p *plan.Plan, o Options) (*report.Purchase, error) {
	if !sc.Target.Can().Twins || p.Peak == 0 {
		return nil, nil
	}
	found, err := o.Market.Find(&p.Need, buy.Options{Tier: o.Tier, Units: o.Units})
	if err != nil {
		return nil, fmt.Errorf("finding what to buy: %w", err)
	}
	changes, tried := change.Find(sc, found.Best, change.Options{Market: &o.Market, Resize: o.Resize})
	found.Changes, found.Tried = changes, &tried
	return found, nil
}
