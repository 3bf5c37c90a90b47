package bell_test

import (
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/internal/bell"
	"github.com/twinfleet/twinfleet/report"
)

func TestBell(t *testing.T) {
	var b strings.Builder
	if err := bell.To(&b).End(&report.Run{}); err != nil || b.String() != "\a" {
		t.Errorf("%q, %v", b.String(), err)
	}
}
