package report_test

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/twinfleet/twinfleet/report"
)

func TestLoadChange(t *testing.T) {
	for _, tc := range []struct{ change, text, wrong string }{
		{`{}`, "", "nothing is to be changed: give devices, report_rate or telemetry_rate"},
		{`{"devices":0}`, "to 0 devices", ""},
		{`{"devices":1,"report_rate":2.5}`, "to 1 device, reports at 2.50/s", ""},
		{`{"devices":101}`, "to 101 devices", "devices is 101; it must be from 0 to the scenario's 100"},
		{`{"devices":-1}`, "to -1 devices", "devices is -1; it must be from 0 to the scenario's 100"},
		{`{"report_rate":-1}`, "reports at -1.00/s", "report_rate is -1; it must be from 0 to 1000000 a second"},
		{`{"telemetry_rate":1e7}`, "telemetry at 10,000,000/s", "telemetry_rate is 1e+07; it must be from 0 to 1000000 a second"},
	} {
		var c report.LoadChange
		if err := json.Unmarshal([]byte(tc.change), &c); err != nil {
			t.Fatal(err)
		}
		if got := c.String(); got != tc.text {
			t.Errorf("%s reads %q, want %q", tc.change, got, tc.text)
		}
		wrong := ""
		if err := c.Check(100); err != nil {
			wrong = err.Error()
		}
		if wrong != tc.wrong {
			t.Errorf("%s: %q, want %q", tc.change, wrong, tc.wrong)
		}
	}
	nan := math.NaN()
	if err := (&report.LoadChange{ReportRate: &nan}).Check(1); err == nil {
		t.Error("a rate that is no number was taken")
	}
}
