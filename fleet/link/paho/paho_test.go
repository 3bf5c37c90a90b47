package paho_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/link/linktest"
	"github.com/twinfleet/twinfleet/fleet/link/paho"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func suite() *linktest.Suite {
	return &linktest.Suite{Driver: func() link.Driver { return paho.New() }}
}

func TestDriver(t *testing.T) { suite().Run(t) }

func TestAgainstMochi(t *testing.T) {
	for name, dial := range linktest.Mochi(t) {
		t.Run(name, func(t *testing.T) { suite().RunBroker(t, dial, "mochi-"+name) })
	}
}
