package report_test

import (
	"testing"

	"github.com/twinfleet/twinfleet/report"
)

// The text of the devices says how many were started, and how many of these never connected, as far as the record knows.
func TestDevicesText(t *testing.T) {
	n := func(n int) *int { return &n }
	reach := func(connected ...int) (all []report.Reach) {
		for _, n := range connected {
			all = append(all, report.Reach{Devices: 4, Tried: 4, Connected: n})
		}
		return all
	}
	for _, tt := range []struct {
		run  report.Run
		want string
	}{
		{report.Run{Devices: 8}, "8 devices"},
		{report.Run{Devices: 8, Ran: n(5)}, "5 of 8 devices"},
		{report.Run{Devices: 8, Ran: n(8), Reach: reach(4, 4)}, "8 devices"},
		{report.Run{Devices: 8, Ran: n(8), Reach: reach(4, 2)}, "8 devices, 2 never connected"},
		{report.Run{Devices: 8, Ran: n(5), Reach: reach(4, 0)}, "5 of 8 devices, 1 never connected"},
		{report.Run{Devices: 1, Ran: n(1), Reach: reach(0)}, "1 device, 1 never connected"},
		{report.Run{Devices: 8, Ran: n(0), Reach: reach(0)}, "0 of 8 devices"},
	} {
		if got := tt.run.DevicesText(); got != tt.want {
			t.Errorf("%q; want %q", got, tt.want)
		}
	}
}
