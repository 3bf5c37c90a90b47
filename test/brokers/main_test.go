//go:build integration

package brokers

import (
	"testing"

	"github.com/twinfleet/twinfleet/test/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }
