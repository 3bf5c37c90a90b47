package lead

import (
	"testing"

	"github.com/twinfleet/twinfleet/internal/swarm/bus/membus"
	"github.com/twinfleet/twinfleet/internal/swarm/protocol"
	"github.com/twinfleet/twinfleet/metrics"
)

// What is told of an agent at the end is how it stood before its devices were told to leave, not that none is connected any more.
func TestConnectedBeforeLeaving(t *testing.T) {
	b := (&membus.Server{}).Connect()
	defer b.Close()
	l, err := New(Options{Bus: b, Run: "r"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	l.agents = []*agent{{name: "a", part: metrics.NewRecorder(metrics.Options{}).Join()}}
	said := func(text string) {
		t.Helper()
		l.stands(protocol.StatusSubject("r", "a"), []byte(text))
	}
	said(`{"counts": {"connected": 7, "offline": 1}}`)
	l.mu.Lock()
	l.leaving = true
	l.mu.Unlock()
	said(`{"counts": {"connected": 0, "offline": 8}}`)
	if a := l.Figures()[0]; a.Connected != 7 || a.States["offline"] != 8 {
		t.Errorf("%d connected, states %v", a.Connected, a.States)
	}
}
