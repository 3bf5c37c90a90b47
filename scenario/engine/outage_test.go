package engine

import (
	"reflect"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/report"
)

func TestOutages(t *testing.T) {
	type sample struct{ connected, lost int }
	const s = time.Second
	tests := []struct {
		name    string
		samples []sample // one a second, from 0
		want    []report.Outage
	}{
		{"all well", []sample{{0, 0}, {100, 0}, {1000, 0}}, nil},
		{"a device in a hundred is no outage", []sample{{1000, 0}, {990, 10}, {1000, 0}}, nil},
		{
			"a fall and a return",
			[]sample{{1000, 0}, {0, 1000}, {400, 600}, {990, 10}, {1000, 0}},
			[]report.Outage{{From: s, To: 3 * s, Lost: 1000, Total: 1000, Recovered: true}},
		},
		{
			"still gone at the end",
			[]sample{{1000, 0}, {200, 800}, {300, 700}},
			[]report.Outage{{From: s, To: 3 * s, Lost: 800, Total: 800}},
		},
		{
			"two of them",
			[]sample{{10, 0}, {5, 5}, {10, 0}, {0, 10}, {10, 0}},
			[]report.Outage{{From: s, To: 2 * s, Lost: 5, Total: 5, Recovered: true}, {From: 3 * s, To: 4 * s, Lost: 10, Total: 10, Recovered: true}},
		},
		{"a single device that is lost counts", []sample{{1, 0}, {0, 1}, {1, 0}}, []report.Outage{{From: s, To: 2 * s, Lost: 1, Total: 1, Recovered: true}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var f outageFinder
			losses, before := 0, 0
			for i, x := range tt.samples {
				losses += max(0, x.lost-before)
				before = x.lost
				f.add(time.Duration(i)*s, x.connected, x.lost, losses)
			}
			got := f.end(time.Duration(len(tt.samples)) * s)
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("outages = %+v; want %+v", got, tt.want)
			}
		})
	}
}
