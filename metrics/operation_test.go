package metrics

import (
	"slices"
	"testing"
)

func TestOperations(t *testing.T) {
	all := Operations()
	for i, op := range all {
		if slices.Index(all, op) != i || op.rank() != i || op == "" {
			t.Errorf("%q stands twice, or nowhere", op)
		}
	}
	if own := Operation("own"); own.isKnown() || own.OfDevices() || own.OnBrokers() || own.rank() != len(all) {
		t.Error("an operation of a program's own is none of ours")
	}
	if !OpConnect.OfDevices() || OpQuery.OfDevices() || !OpTelemetry.OnBrokers() || OpTwinGet.OnBrokers() {
		t.Error("devices connect, brokers take telemetry, and only they")
	}
	if n := testing.AllocsPerRun(100, func() { _ = OpRecovery.rank() }); n > 0 {
		t.Errorf("%g allocations to find one: figures are sorted by it every second", n)
	}
}
