package paho_test

import (
	"testing"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/link/linktest"
	"github.com/twinfleet/twinfleet/fleet/link/paho"
)

func TestDriver(t *testing.T) {
	suite := linktest.Suite{Driver: func() link.Driver { return paho.New() }}
	suite.Run(t)
}
