package lean

import (
	"testing"
	"unsafe"
)

// A connection of MQTT 3.1.1 that keeps nothing, which a fleet has a hundred thousand of, is of the size class of the allocator that it
// was before there was MQTT 5; so is a packet that waits.
func TestSize(t *testing.T) {
	if n := unsafe.Sizeof(conn{}); n > 416 {
		t.Errorf("a connection has %d bytes", n)
	}
	if n := unsafe.Sizeof(awaited{}); n > 24 {
		t.Errorf("what waits has %d bytes", n)
	}
}
