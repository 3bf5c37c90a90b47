package fleet

import (
	"slices"
	"testing"

	"github.com/twinfleet/twinfleet/metrics"
)

// What becomes of devices that were taken over is counted with all, and by itself.
func TestAdoptedAreProvisioned(t *testing.T) {
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
		for i, do := range []func(){func() { d.provisions(func(p *provisioned) { p.started.Add(1) }) }, d.noteAssigned, d.noteArrived} {
			if i < far {
				do()
			}
		}
	}
	all, own := []Provisioned{{Group: "b", Devices: 3, Assigned: 2, Connected: 1}}, []Provisioned{{Group: "b", Devices: 2, Assigned: 1, Connected: 1}}
	if !slices.Equal(f.Provisioned(), all) || !slices.Equal(a.Provisioned(), own) {
		t.Errorf("all %+v; want %+v; taken over %+v; want %+v", f.Provisioned(), all, a.Provisioned(), own)
	}
	f.Stop(t.Context())
}
