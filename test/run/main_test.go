//go:build integration

package run

import (
	"testing"

	"github.com/twinfleet/twinfleet/test/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }
