package report

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/twinfleet/twinfleet/report/human"
)

// LoadChange is what somebody changes by hand in the load of the stage that runs. It holds until the stage ends; what is nil stays as the
// scenario has it.
type LoadChange struct {
	Devices       *int     `json:"devices,omitempty"`        // that are to be active; 0 to those of the scenario
	ReportRate    *float64 `json:"report_rate,omitempty"`    // reports of the whole fleet, per second; 0 for none
	TelemetryRate *float64 `json:"telemetry_rate,omitempty"` // messages of the whole fleet, per second; 0 for none
}

// MaxRate is the highest rate that a LoadChange may ask for, per second.
const MaxRate = 1e6

// Check says what is wrong with a change for a scenario of so many devices; nil when nothing is.
func (c *LoadChange) Check(devices int) error {
	if c.Devices == nil && c.ReportRate == nil && c.TelemetryRate == nil {
		return errors.New("nothing is to be changed: give devices, report_rate or telemetry_rate")
	}
	if n := c.Devices; n != nil && (*n < 0 || *n > devices) {
		return fmt.Errorf("devices is %d; it must be from 0 to the scenario's %d", *n, devices)
	}
	for _, x := range []struct {
		name string
		rate *float64
	}{{"report_rate", c.ReportRate}, {"telemetry_rate", c.TelemetryRate}} {
		if r := x.rate; r != nil && (math.IsNaN(*r) || *r < 0 || *r > MaxRate) {
			return fmt.Errorf("%s is %v; it must be from 0 to %.0f a second", x.name, *r, float64(MaxRate))
		}
	}
	return nil
}

// String is the change in words.
func (c *LoadChange) String() string {
	var parts []string
	if c.Devices != nil {
		parts = append(parts, "to "+human.Number(*c.Devices, "device"))
	}
	if c.ReportRate != nil {
		parts = append(parts, "reports at "+human.Rate(*c.ReportRate))
	}
	if c.TelemetryRate != nil {
		parts = append(parts, "telemetry at "+human.Rate(*c.TelemetryRate))
	}
	return strings.Join(parts, ", ")
}
