package plain_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/twinfleet/twinfleet/internal/terminal/plain"
	"github.com/twinfleet/twinfleet/internal/terminal/terminaltest"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/color"
)

func TestPlain(t *testing.T) {
	var b bytes.Buffer
	p := plain.New(&b, terminaltest.Plan(), color.Style{})
	terminaltest.Play(terminaltest.Plan(), 3, p.Event, p.Sample)
	p.Event(report.Event{At: time.Second, Kind: report.KindStep, Text: "registry statistics", Detail: "total 1", OK: true})
	fmt.Fprintln(p, "level=WARN")
	terminaltest.Golden(t, "plain", b.String())
}

// How a run stands is in each line, whatever its condition.
func TestPlainStanding(t *testing.T) {
	var b bytes.Buffer
	worlds := terminaltest.Worlds()
	for _, name := range []string{"holding", "missing", "failing", "cannot-say", "ended", "groups"} {
		fmt.Fprintf(&b, "%s\n", plain.Sample(worlds[name]().LastSample()))
	}
	terminaltest.Golden(t, "standing", b.String())
}
