package report

import (
	"fmt"
	"math"

	"github.com/twinfleet/twinfleet/report/human"
)

// Purchase is what must be bought of Azure IoT Hub so that one hub carries a load all day and in its peaks. What queries find counts
// and is not known before: the purchase is for queries that find the whole fleet.
type Purchase struct {
	Devices  int    `json:"devices"`            // identities
	Steady   string `json:"steady,omitempty"`   // the state that a day goes on in: "as in stage hold"; empty when there is none
	Measured bool   `json:"measured,omitempty"` // the load is that of a run, not of a scenario

	Best      *Offer        `json:"best,omitempty"`         // the cheapest that carries it; nil when none does
	BestLeast *Offer        `json:"best_least,omitempty"`   // the cheapest if queries find nothing, where that is another one
	Held      *Offer        `json:"held,omitempty"`         // the one that the load was to be held to; nil when none was named
	Classes   []PurchaseRow `json:"classes"`                // the load held to Held or Best; without either to the largest hub
	Against   Offer         `json:"against"`                // that one
	Next      *Offer        `json:"next_cheaper,omitempty"` // the most expensive of those that are cheaper; it does not carry the load
	// Clear is the most expensive of those that are cheaper and for sure do not carry the load by a tenth; nil where that is Next.
	Clear   *Offer         `json:"clearly_less,omitempty"`
	Less    *Offer         `json:"one_unit_less,omitempty"` // of the same tier as Best, where it is another than Next
	Tiers   []Offer        `json:"tiers"`                   // of each tier the smallest that carries the load, or its largest and why that does not
	Hubs    *Hubs          `json:"hubs,omitempty"`          // when no single hub carries it
	Changes []Change       `json:"changes,omitempty"`       // of the scenario that would make the purchase cheaper; smallest first
	Tried   *Tried         `json:"tried,omitempty"`         // what was tried to find them; nil when nothing was
	SetUp   []string       `json:"set_up,omitempty"`        // what is done once, before the load, and how long that takes at the limits
	Notes   []string       `json:"notes,omitempty"`         // what a reader must know, one line each
	Unknown []string       `json:"unknown,omitempty"`       // what such an answer cannot know, one line each
	Prices  PurchasePrices `json:"prices"`                  // that were taken
}

// PurchasePrices says which prices were taken.
type PurchasePrices struct {
	Currency string `json:"currency"` // such as USD
	Region   string `json:"region"`   // in which they hold
	Date     string `json:"date"`     // of which they are
	Source   string `json:"source"`   // where they are from
	Limits   string `json:"limits"`   // where the limits are from, and of when those documents are
}

// Offer is a number of units of a tier, held to a load.
type Offer struct {
	Tier     string   `json:"tier"`               // its name, such as S1
	Units    int      `json:"units"`              // from 1
	PerMonth float64  `json:"per_month"`          // of all units, in the currency of the prices
	Trial    bool     `json:"trial,omitempty"`    // for trying things out, not for production
	Carries  bool     `json:"carries"`            // the load, if queries find the whole fleet
	Fails    []string `json:"fails,omitempty"`    // for sure, one line each: which limit, by how much
	Possible []string `json:"possible,omitempty"` // if queries find the whole fleet
	// When the day's messages run out, in seconds from the start: for sure, and if queries find the whole fleet. 0 is never.
	CutOff      float64 `json:"cut_off_seconds,omitempty"`
	CutOffFirst float64 `json:"cut_off_seconds_first,omitempty"` // see CutOff
}

// Name is the tier with its units: "S1, 2 units".
func (o *Offer) Name() string { return o.Tier + ", " + human.Number(o.Units, "unit") }

// Why is the first reason why it does not carry the load; empty when it does.
func (o *Offer) Why() string {
	switch {
	case len(o.Fails) > 0:
		return o.Fails[0]
	case len(o.Possible) > 0:
		return o.Possible[0]
	}
	return ""
}

// PurchaseRow is one limit and what the load asks of it. Rates are operations a second; of "messages a day" and "devices" they are
// numbers.
type PurchaseRow struct {
	Class       string  `json:"class"`                // what is limited
	Day         bool    `json:"a_day,omitempty"`      // the figures are numbers, not rates
	MeanLeast   float64 `json:"mean_least"`           // all day, if queries find nothing
	Mean        float64 `json:"mean"`                 // all day, if they find the whole fleet
	Peak        float64 `json:"peak,omitempty"`       // in the busiest second
	PeakStage   string  `json:"peak_stage,omitempty"` // that has it
	NeededLeast float64 `json:"needed_least"`         // the smallest limit that carries mean and peaks, if queries find nothing
	Needed      float64 `json:"needed"`               // likewise, if they find the whole fleet
	Allowed     float64 `json:"allowed"`              // the limit
	PerHub      bool    `json:"per_hub,omitempty"`    // units do not raise it
	Headroom    float64 `json:"headroom"`             // share of Allowed that Needed leaves; below 0 when it does not fit
	Binds       bool    `json:"binds,omitempty"`      // it leaves the least
}

// Hubs is how many hubs carry what one does not, if the fleet is split evenly among them.
type Hubs struct {
	Count    int     `json:"count"`     // hubs, at least; 0 when no number of them would
	Each     Offer   `json:"each"`      // what each of them is
	PerMonth float64 `json:"per_month"` // of all
}

// Change is a change of the scenario that makes the purchase cheaper.
type Change struct {
	Key   string  `json:"key"`   // the scenario's
	Text  string  `json:"text"`  // what is changed: "queries every 30s instead of 10s"
	Offer Offer   `json:"offer"` // that carries it then
	Saves float64 `json:"saves"` // a month
}

// Tried says which changes of a scenario were tried, each alone.
type Tried struct {
	Changes int      `json:"changes"`        // that were planned
	Keys    []string `json:"keys,omitempty"` // of the scenario that they are about, and "--devices" for the size of the fleet
}

// Money writes an amount in the currency of the prices: "250 USD", "21.50 USD".
func (p *PurchasePrices) Money(x float64) string {
	hundredths := int64(math.Round(x * 100))
	if hundredths%100 == 0 && x == math.Trunc(x) {
		return human.Count(hundredths/100) + " " + p.Currency
	}
	return fmt.Sprintf("%s.%02d %s", human.Count(hundredths/100), hundredths%100, p.Currency)
}
