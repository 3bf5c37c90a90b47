package plan

import (
	"fmt"
	"math"
	"strings"

	"github.com/twinfleet/twinfleet/internal/iothub/tier"
	"github.com/twinfleet/twinfleet/internal/planning/demand"
	"github.com/twinfleet/twinfleet/internal/planning/span"
	"github.com/twinfleet/twinfleet/internal/planning/words"
)

// Metering is how many messages the scenario counts for against a tier's daily quota. What a query finds counts, and
// is not known before: the least is with queries that find nothing, the other with such as find the whole fleet.
type Metering struct {
	MeterBytes int     `json:"meter_bytes"`        // a message for each started block of so many
	Run        float64 `json:"run_messages"`       // in the run, at most
	RunLeast   float64 `json:"run_messages_least"` // in the run, if queries find nothing
	Day        float64 `json:"day_messages"`       // of a day in the steady state
	DayLeast   float64 `json:"day_messages_least"` // of such a day, if queries find nothing
	Quota      float64 `json:"quota,omitempty"`    // messages a day that the tier allows; 0 without one
	// When the quota is used up, from the start of the run, which is taken for the start of the day, if after its
	// stages it goes on in the steady state: for sure, and if queries find all. 0 is never.
	CutOff      float64 `json:"cut_off_seconds,omitempty"`
	CutOffFirst float64 `json:"cut_off_seconds_first,omitempty"` // if queries find the whole fleet
}

func (p *Plan) meter(l tier.Limits) Metering {
	m := Metering{MeterBytes: l.MeterBytes, Quota: float64(l.MessagesPerDay)}
	use := func(most bool) (run, daily, cut float64) {
		stages, seconds := make([]float64, len(p.spans)), make([]float64, len(p.spans))
		for i := range p.spans {
			seconds[i] = p.spans[i].Duration.Seconds()
		}
		for _, d := range p.demands {
			stages[max(0, d.Stage)] += messages(&d, l, most)
		}
		for _, n := range stages {
			run += n
		}
		for _, d := range p.daily {
			daily += messages(&d, l, most)
		}
		if m.Quota > 0 {
			cut = cutOff(seconds, stages, daily, m.Quota)
		}
		return run, daily, cut
	}
	m.RunLeast, m.DayLeast, m.CutOff = use(false)
	m.Run, m.Day, m.CutOffFirst = use(true)
	return m
}

// messages is what a demand counts for.
func messages(d *demand.Demand, l tier.Limits, most bool) float64 {
	switch {
	case d.Paused || d.Bytes < 0:
		return 0
	case d.Finds && !most:
		return d.Total
	}
	return d.Messages(l)
}

// cutOff is when the quota of a day is used up for the first time, in seconds from the start: by the stages, each
// evenly over its time, and by days after them; 0 for never.
func cutOff(seconds, stages []float64, daily, quota float64) float64 {
	at, used := 0.0, 0.0
	spend := func(n, seconds float64) (cut bool) {
		rate := n / max(seconds, 1e-9)
		for {
			left := span.Day.Seconds() - math.Mod(at, span.Day.Seconds()) // of the day
			part := min(left, seconds)
			if used+rate*part > quota {
				at += (quota - used) / rate
				return true
			}
			at, used, seconds = at+part, used+rate*part, seconds-part
			if part == left {
				used = 0
			}
			if seconds <= 0 {
				return false
			}
		}
	}
	for i := range stages {
		if spend(stages[i], seconds[i]) {
			return max(at, 1)
		}
	}
	for range 2 { // what is left of the last day, and a whole one
		if spend(daily, span.Day.Seconds()) {
			return max(at, 1)
		}
	}
	return 0
}

// QuotaUse is what becomes of a tier's daily quota.
type QuotaUse uint8

// The uses, best first.
const (
	QuotaFits      QuotaUse = iota // it is enough, also for days that go on so
	QuotaMayEnd                    // it may be used up, depending on what queries find
	QuotaEndsLater                 // it is used up if the run went on in its steady state
	QuotaEnds                      // it is used up in the run
)

// Quota says what becomes of the tier's daily quota. The text is empty without a tier.
func (p *Plan) Quota() (u QuotaUse, text string) {
	m := p.Metering
	if p.Tier == nil {
		return QuotaFits, ""
	}
	text = fmt.Sprintf("this run uses %s of the day's %s messages", words.Between(m.RunLeast, m.Run), words.Count(m.Quota))
	const cutsOff = "the hub cuts the whole fleet off after about %s, until midnight UTC"
	switch {
	case m.CutOff > 0 && m.CutOff <= p.Seconds:
		return QuotaEnds, text + ": " + fmt.Sprintf(cutsOff, words.Roughly(m.CutOff))
	case m.CutOff == 0 && m.CutOffFirst > 0 && m.CutOffFirst <= p.Seconds:
		return QuotaMayEnd, text + ": if queries find the whole fleet, " + fmt.Sprintf(cutsOff, words.Roughly(m.CutOffFirst))
	case p.Steady == nil:
		return QuotaFits, text
	}
	text += fmt.Sprintf("; kept up all day %s it would be %s", p.Steady, words.Between(m.DayLeast, m.Day))
	switch {
	case m.CutOff > 0:
		after := words.Roughly(m.CutOff)
		if first := words.Roughly(m.CutOffFirst); first != after {
			after = strings.TrimSuffix(first, " min") + " to " + after
		}
		return QuotaEndsLater, text + ": " + fmt.Sprintf(cutsOff, after)
	case m.CutOffFirst > 0:
		return QuotaMayEnd, text + ": if queries find the whole fleet, " + fmt.Sprintf(cutsOff, words.Roughly(m.CutOffFirst))
	}
	return QuotaFits, text + fmt.Sprintf(" (%.0f %%)", math.Ceil(100*m.Day/m.Quota))
}
