package outage

import (
	"reflect"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/report"
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
			[]report.Outage{{From: s, To: 3 * s, Lost: 1000, Total: 1000, Recovered: true, AllBack: 3 * s, Returns: []int{0, 400, 590, 10}, Every: s}},
		},
		{
			"a fall that begins slowly",
			[]sample{{1000, 0}, {995, 5}, {900, 100}, {1000, 0}},
			[]report.Outage{{From: 2 * s, To: 3 * s, Lost: 100, Total: 100, Recovered: true, AllBack: s, Returns: []int{0, 100}, Every: s}},
		},
		{
			"still gone at the end",
			[]sample{{1000, 0}, {200, 800}, {300, 700}},
			[]report.Outage{{From: s, To: 3 * s, Lost: 800, Total: 800, Returns: []int{0, 100}, Every: s}},
		},
		{
			"two of them",
			[]sample{{10, 0}, {5, 5}, {10, 0}, {0, 10}, {10, 0}},
			[]report.Outage{
				{From: s, To: 2 * s, Lost: 5, Total: 5, Recovered: true, AllBack: s, Returns: []int{0, 5}, Every: s},
				{From: 3 * s, To: 4 * s, Lost: 10, Total: 10, Recovered: true, AllBack: s, Returns: []int{0, 10}, Every: s},
			},
		},
		{
			"a single device that is lost counts",
			[]sample{{1, 0}, {0, 1}, {1, 0}},
			[]report.Outage{{From: s, To: 2 * s, Lost: 1, Total: 1, Recovered: true, AllBack: s, Returns: []int{0, 1}, Every: s}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var f finder
			losses, returns, before := 0, 0, 0
			for i, x := range tt.samples {
				losses += max(0, x.lost-before)
				returns += max(0, before-x.lost)
				before = x.lost
				at := time.Duration(i) * s
				f.add(state{at: at, connected: x.connected, lost: x.lost, losses: losses, returns: returns, since: at})
			}
			got := f.end(time.Duration(len(tt.samples)) * s)
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("outages = %+v; want %+v", got, tt.want)
			}
		})
	}
}

// A curve that is longer than there are points has wider intervals, and loses nothing.
func TestLongReconnectCurve(t *testing.T) {
	var f finder
	f.add(state{connected: 1000})
	const seconds = 1000
	for i := 1; i <= seconds; i++ {
		f.add(state{at: time.Duration(i) * time.Second, lost: seconds, losses: seconds, returns: i - 1, since: time.Duration(i) * time.Second})
	}
	o := f.end(seconds * time.Second)[0]
	sum := 0
	for _, n := range o.Returns {
		sum += n
	}
	if len(o.Returns) > maxReturns || o.Every != 8*time.Second || sum != seconds-1 {
		t.Errorf("%d points of %v with %d returns in all", len(o.Returns), o.Every, sum)
	}
	if rate, _ := o.Peak(); rate != 1 {
		t.Errorf("peak = %v a second; want 1", rate)
	}
}

// Devices that are back before the next poll were lost all the same, and a storm that goes on meanwhile is one outage.
func TestOutageBetweenTwoPolls(t *testing.T) {
	const ms = time.Millisecond
	var f finder
	f.add(state{at: 100 * ms, connected: 1000})
	for i := 1; i <= 5; i++ {
		f.add(state{at: time.Duration(100+100*i) * ms, connected: 999, lost: 1, losses: 200 * i, returns: 200*i - 1, since: time.Duration(100*i) * ms})
	}
	f.add(state{at: 700 * ms, connected: 1000, losses: 1000, returns: 1000, since: 600 * ms})
	f.add(state{at: 800 * ms, connected: 1000, losses: 1000, returns: 1000, since: 700 * ms})
	want := []report.Outage{{From: 100 * ms, To: 700 * ms, Lost: 200, Total: 1000, Recovered: true, AllBack: 600 * ms, Returns: []int{1000}, Every: time.Second}}
	if got := f.end(time.Second); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v; want %+v", got, want)
	}
}

// A poll after the end finds nothing: devices that are stopped seem to be back.
func TestNothingAfterTheEnd(t *testing.T) {
	const s = time.Second
	var f finder
	f.add(state{connected: 100})
	f.add(state{at: s, lost: 100, losses: 100, since: s})
	f.end(2 * s)
	f.add(state{at: 3 * s, losses: 100})
	if got := f.end(3 * s); len(got) != 1 || got[0].Recovered || got[0].To != 2*s || got[0].AllBack != 0 {
		t.Errorf("%+v; want one that was not over", got)
	}
}

// Devices that a stage stops while they are gone did not come back, however few are left to wait for.
func TestStoppedWhileGone(t *testing.T) {
	const s = time.Second
	for _, tt := range []struct {
		name      string
		left      []int // at 2 s, 3 s and 4 s; a hundred devices are lost at 1 s
		lost      []int
		recovered bool
		to        time.Duration
		want      int
	}{
		{"all stopped", []int{50, 100, 100}, []int{50, 0, 0}, false, 3 * s, 100},
		{"half stopped, half back", []int{50, 50, 50}, []int{50, 25, 0}, false, 4 * s, 50},
		{"one in a hundred stopped", []int{1, 1, 1}, []int{60, 20, 0}, true, 4 * s, 1},
		{"stopped after they were back", []int{0, 0, 0}, []int{60, 0, 0}, true, 3 * s, 0},
	} {
		var f finder
		f.add(state{connected: 100, left: 7}) // of an earlier outage
		f.add(state{at: s, lost: 100, losses: 100, left: 7, since: s})
		for i := range tt.left {
			f.add(state{
				at: time.Duration(i+2) * s, connected: 100 - tt.lost[i] - tt.left[i], lost: tt.lost[i], losses: 100,
				returns: 100 - tt.lost[i] - tt.left[i], left: 7 + tt.left[i],
			})
		}
		got := f.end(5 * s)
		if len(got) != 1 || got[0].Recovered != tt.recovered || got[0].To != tt.to || got[0].Left != tt.want {
			t.Errorf("%s: %+v; want recovered %t at %s, %d stopped", tt.name, got, tt.recovered, tt.to, tt.want)
		}
	}
}
