package lean

import (
	"runtime"
	"testing"
	"unsafe"

	"github.com/twinfleet/twinfleet/fleet/link"
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

// Topic aliases that a target may use and does not cost nothing: a fleet may allow as many as there are.
func TestUnusedAliases(t *testing.T) {
	const connections = 100
	var all [connections]*five
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for i := range all {
		f, err := greeted([]byte{0, 0, 0}, link.Options{Version: link.V5, TopicAliases: 65_535})
		if err != nil {
			t.Fatal(err)
		}
		all[i] = f
	}
	runtime.ReadMemStats(&after)
	if each := (after.TotalAlloc - before.TotalAlloc) / connections; each > 4<<10 {
		t.Errorf("a connection takes %d bytes", each)
	}
	runtime.KeepAlive(&all)
}
