package report

import (
	"fmt"
	"time"

	"github.com/twinfleet/twinfleet/report/human"
)

// Outage is a time in which devices had lost their connections unasked. Times are since the run's start.
type Outage struct {
	From      time.Duration `json:"from"`               // when the first connections were lost
	To        time.Duration `json:"to"`                 // when 99 % were back; else when nobody was left to come back, or the run ended
	Lost      int           `json:"lost"`               // the most devices that were gone at once
	Total     int           `json:"total"`              // connections that were lost in it
	Recovered bool          `json:"recovered"`          // whether 99 % came back before the run ended
	Left      int           `json:"left,omitempty"`     // devices that a stage stopped before they were back
	AllBack   time.Duration `json:"all_back,omitempty"` // from From until nobody was gone any more; 0 when some were to the end
	// Returns is the reconnect curve: devices that came back in each interval of Every since From. A
	// device that was lost twice comes back twice.
	Returns []int         `json:"returns,omitempty"`
	Every   time.Duration `json:"every,omitempty"` // the length of an interval of Returns
	// Why is the reason for which most of its connections were lost, with how many where others were lost for another; empty where none is known.
	Why string `json:"why,omitempty"`
}

// Peak is the highest rate of the reconnect curve, in devices per second, and when, since From, its
// interval began.
func (o *Outage) Peak() (rate float64, at time.Duration) {
	for i, n := range o.Returns {
		if r := float64(n) / o.Every.Seconds(); r > rate {
			rate, at = r, time.Duration(i)*o.Every
		}
	}
	return rate, at
}

// Stopped says how many devices a stage stopped before they were back.
func (o Outage) Stopped() string {
	return human.Number(o.Left, "device") + " had not come back when a stage stopped them"
}

// String is the outage in one line.
func (o Outage) String() string {
	back := "99 % were back after " + human.Duration(o.To-o.From)
	switch {
	case o.Recovered:
	case o.Left > 0:
		back = o.Stopped()
	default:
		back = "they were not back when the run ended"
	}
	were := func(n int, one string) string {
		if n == 1 {
			return "1 " + one + " was"
		}
		return human.Number(n, one) + " were"
	}
	why := ""
	if o.Why != "" {
		why = " (" + o.Why + ")"
	}
	return fmt.Sprintf("outage at %s: %s lost%s, %s gone at once; %s", human.Duration(o.From), were(o.Total, "connection"), why, were(o.Lost, "device"), back)
}

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
	when := "at once"
	if at > 0 {
		when = human.Duration(at) + " after it began"
	}
	return fmt.Sprintf("came back %s  at most %s, %s; %s", human.Spark(o.Returns), human.Rate(rate), when, all)
}
