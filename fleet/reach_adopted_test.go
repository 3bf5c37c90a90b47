package fleet

import (
	"slices"
	"testing"

	"github.com/twinfleet/twinfleet/metrics"
)

// What becomes of devices that were taken over is counted with all, and by itself.
func TestReachOfAdopted(t *testing.T) {
	f, err := New(Config{
		Target: still{}, Driver: still{}, Recorder: metrics.NewRecorder(metrics.Options{}), Mine: func(index int) bool { return index < 2 },
		Groups: []Group{{Name: "a", IDs: []string{"0"}}, {Name: "b", First: 1, IDs: []string{"1", "2", "3"}, Provision: &Provisioning{}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	a := f.Adopt([]int{2, 3}, func(int) string { return "adopted" })
	for place, far := range []int{0, 2, 3, 1} {
		d := f.devices[place].Load()
		for i, do := range []func(){func() { d.count(func(t *tally) { t.started.Add(1) }) }, d.noteAssigned, d.noteArrived} {
			if i < far {
				do()
			}
		}
	}
	all := []Reach{{Group: "a"}, {Group: "b", Provisions: true, Devices: 3, Assigned: 2, Tried: 1, Connected: 1}}
	own := []Reach{{Group: "a"}, {Group: "b", Provisions: true, Devices: 2, Assigned: 1, Tried: 1, Connected: 1}}
	if !slices.Equal(f.Reach(), all) || !slices.Equal(a.Reach(), own) {
		t.Errorf("all %+v; want %+v; taken over %+v; want %+v", f.Reach(), all, a.Reach(), own)
	}
	f.Stop(t.Context())
}
