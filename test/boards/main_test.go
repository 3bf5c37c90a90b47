//go:build integration

package boards

import (
	"testing"

	"github.com/twinfleet/twinfleet/test/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }
