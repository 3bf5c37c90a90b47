package fleet_test

import (
	"bytes"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twinfleet/twinfleet/fleet"
	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/metrics"
)

// Why connections were lost is counted, and said in the debug log: what the target or this side did, and a storm. A device that leaves loses none.
func TestReasonsOfLosses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, log := newBroker(link.V5, boards), &bytes.Buffer{}
		rec := metrics.NewRecorder(metrics.Options{})
		f, err := fleet.New(fleet.Config{
			Groups: []fleet.Group{{Name: "boards", IDs: []string{"boards-0", "boards-1"}, Listens: true}}, Target: b, Driver: b, Recorder: rec,
			Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		})
		if err != nil {
			t.Fatal(err)
		}
		to(t, f, 2, 0)
		time.Sleep(second)
		for _, why := range []error{&link.DisconnectedError{Code: 0x97, Words: "boards-0 is over its quota"}, link.ErrReceiveMax, io.EOF} {
			b.set(func() { b.ends = why })
			b.drop("boards-0")
			time.Sleep(second)
		}
		f.Storm(1, 0, 1)
		time.Sleep(second)
		f.Stop(t.Context())
		want := map[string]uint64{
			`the target disconnected: quota exceeded (reason code 151): "{device} is over its quota"`: 1,
			"ended by this side: the target sent more messages at once than it was told that it may":  1,
			"the target closed the connection without a word":                                         1,
			"cut by a storm of the run itself":                                                        2,
		}
		for _, e := range rec.Losses() {
			if want[e.Reason] != e.Count {
				t.Errorf("%d × %s; want %d", e.Count, e.Reason, want[e.Reason])
			}
			delete(want, e.Reason)
		}
		if len(want) > 0 || f.Losses() != 5 {
			t.Errorf("%v are missing of %d losses", want, f.Losses())
		}
		if n := strings.Count(log.String(), `msg="connection lost" device=boards-`); n != 5 {
			t.Errorf("the log tells of %d losses:\n%s", n, log)
		}
	})
}

// What a target says of why it refuses something is counted with it, without the id of the device.
func TestReasonsOfRefusals(t *testing.T) {
	for name, set := range map[string]func(b *broker){
		"connect":   func(b *broker) { b.refuses = func(link.Options) bool { return true } },
		"subscribe": func(b *broker) { b.forbids = func(string) bool { return true } },
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newBroker(link.V5, boards)
			b.words = "boards-0 has no licence"
			set(b)
			rec := metrics.NewRecorder(metrics.Options{})
			f, err := fleet.New(fleet.Config{
				Groups: []fleet.Group{{Name: "boards", IDs: []string{"boards-0"}, Listens: true}}, Target: b, Driver: b, Recorder: rec,
			})
			if err != nil {
				t.Fatal(err)
			}
			to(t, f, 1, 0)
			time.Sleep(second)
			f.Stop(t.Context())
			n := 0
			for _, e := range rec.Snapshot().Errors {
				if e.Operation != metrics.Operation(name) || !strings.HasSuffix(e.Reason, `: "{device} has no licence"`) {
					t.Errorf("%s: %d × %s: %s", name, e.Count, e.Operation, e.Reason)
				}
				n += int(e.Count)
			}
			if n == 0 {
				t.Errorf("%s: nothing was refused", name)
			}
		})
	}
}
