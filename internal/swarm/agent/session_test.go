package agent

import (
	"testing"

	"github.com/twinfleet/twinfleet/internal/swarm/protocol"
)

// What was loaded of epochs that have come is not kept, opened or not: there is room for what comes after any number of losses.
func TestLoadsOfEpochsThatHaveCome(t *testing.T) {
	s := &session{joined: true, loads: make(map[load][][]byte)}
	for epoch := range 3 * mostLoads {
		chunk := &protocol.Chunk{Kind: protocol.KindIdentities, Epoch: epoch, Count: 1, Sealed: []byte("sealed")}
		if err := s.load(chunk); err != nil {
			t.Fatalf("epoch %d: %v", epoch, err)
		}
		if epoch%2 == 1 { // of every other one no order came
			s.forget(protocol.KindIdentities, epoch)
		}
	}
	later := load{protocol.KindIdentities, 100}
	s.loads[later] = [][]byte{nil}
	s.loads[load{protocol.KindScenario, 0}] = [][]byte{nil}
	if s.forget(protocol.KindIdentities, 99); len(s.loads) != 2 || s.loads[later] == nil {
		t.Errorf("kept: %v", s.loads)
	}
}
