package lean_test

import (
	"testing"

	"github.com/twinfleet/twinfleet/fleet/link"
	"github.com/twinfleet/twinfleet/fleet/link/lean"
	"github.com/twinfleet/twinfleet/fleet/link/linktest"
)

func TestDriver(t *testing.T) {
	suite := linktest.Suite{Driver: func() link.Driver { return lean.New() }}
	suite.Run(t)
}
