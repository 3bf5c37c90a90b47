package twinread_test

import (
	"errors"
	"testing"

	"github.com/twinfleet/twinfleet/internal/iothub"
	"github.com/twinfleet/twinfleet/internal/worker/twinread"
	"github.com/twinfleet/twinfleet/internal/worker/workertest"
)

// Twins are read in the order given, and from its start once all were read.
func TestReadsGoFromTwinToTwin(t *testing.T) {
	ids := workertest.IDs(3)
	do := twinread.Read(workertest.Twins{"dev-0": "{}", "dev-1": "{}"}, ids, []int{2, 0, 1})
	for n, want := range []error{iothub.ErrDeviceNotFound, nil, nil, iothub.ErrDeviceNotFound} {
		if err := do(t.Context(), int64(n)); !errors.Is(err, want) {
			t.Errorf("read %d: %v; want %v", n, err, want)
		}
	}
}
