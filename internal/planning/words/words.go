// Package words says what a plan has found, for people.
package words

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/internal/planning/span"
	"github.com/twinfleet/twinfleet/report/human"
	"github.com/twinfleet/twinfleet/scenario"
)

// Between writes a number of messages of which is known that it lies between two.
func Between(least, most float64) string {
	if Messages(least) == Messages(most) {
		return Messages(most)
	}
	return Messages(least) + " to " + Messages(most)
}

// Messages writes a number of messages: a started one counts.
func Messages(x float64) string { return human.Count(int64(math.Ceil(x - 1e-6))) }

// Count writes a number.
func Count(x float64) string { return human.Count(int64(x + 0.5)) }

// Short writes a time given in seconds.
func Short(seconds float64) string {
	return human.Duration(time.Duration(seconds * float64(time.Second)))
}

// Rate writes a rate with the unit a person would choose.
func Rate(perSecond float64) string {
	switch {
	case perSecond == 0:
		return "0"
	case perSecond >= 1:
		number := strings.TrimSuffix(human.Rate(perSecond), "/s")
		if strings.Contains(number, ".") {
			number = strings.TrimRight(strings.TrimRight(number, "0"), ".")
		}
		return number + "/s"
	default:
		return strconv.FormatFloat(perSecond*60, 'g', 3, 64) + "/min"
	}
}

// Does says what a stage does beside changing the number of devices.
func Does(t *scenario.Stage) string {
	var parts []string
	add := func(format string, a ...any) { parts = append(parts, fmt.Sprintf(format, a...)) }
	if t.Paused {
		add("paused")
	}
	for _, x := range []struct {
		what string
		r    *scenario.Range
	}{{"devices", t.ConnectRate}, {"reports", t.ReportRate}, {"telemetry", t.TelemetryRate}} {
		if x.r != nil {
			add("%s at %s", x.what, x.r.Words(Rate))
		}
	}
	if t.Course != nil {
		add("devices: %s", t.CourseWords())
	}
	if t.ByGroup != nil {
		add("devices by group: %s", t.Goals())
	}
	if t.Storm != nil {
		in := "at once"
		if t.Storm.Within > 0 {
			in = "within " + human.Duration(t.Storm.Within)
		}
		add("storm of %.0f %%%s %s", t.Storm.Drop*100, t.Storm.Whose(), in)
	}
	if t.Hub != nil {
		add("the hub misbehaves")
	}
	if t.Network != nil {
		add("the network is bad")
	}
	if n := len(t.Steps); n == 1 {
		add("1 step")
	} else if n > 1 {
		add("%d steps", n)
	}
	return strings.Join(parts, ", ")
}

// Notes are what a reader of the plan must know.
func Notes(sc *scenario.Scenario, spans []span.Span) []string {
	var all []string
	if len(sc.Service.Queries) > 0 {
		all = append(all, "queries are planned as if each found the whole fleet: pages and messages are those at most")
	}
	if len(sc.Service.Jobs) > 0 {
		all = append(all, "what jobs do to devices is not planned: the hub does it at its own pace, one update or method a device")
	}
	for i := range sc.Service.Jobs {
		x := &sc.Service.Jobs[i]
		if whole := span.EndOf(spans); !slices.ContainsFunc(spans, func(s span.Span) bool { return s.Open }) && span.StartIn(spans, x.Stage, x.At) >= whole {
			all = append(all, fmt.Sprintf("job %s is due after the last stage: it does not begin", x.Name))
		}
	}
	all = append(all, provisioning(sc)...)
	if slices.ContainsFunc(sc.Stages, func(t scenario.Stage) bool { return span.Disturbs(&t) }) {
		all = append(all, "connections after a fault of hub or network come on top: how many at once depends on back-off and chance")
	}
	return all
}

// registrationsPerMinute is what Azure's provisioning service takes (azure-docs: iot-dps-limits).
const registrationsPerMinute = 1000

// provisioning says what a provisioning service has to do with the plan.
func provisioning(sc *scenario.Scenario) []string {
	all, azure := 0, 0
	for i := range sc.Fleet.Groups {
		g := &sc.Fleet.Groups[i]
		switch d := g.Identity.DPS; {
		case d == nil:
		case d.Azure():
			azure += g.Count
			fallthrough
		default:
			all += g.Count
		}
	}
	if all == 0 {
		return nil
	}
	notes := []string{"devices that provision are planned as if the service threw none back, and each polled once"}
	if azure > 0 {
		minutes := float64(azure) / registrationsPerMinute
		notes = append(notes, fmt.Sprintf("Azure's provisioning service takes %s registrations a minute: %s need %s at least",
			human.Count(registrationsPerMinute), human.Number(azure, "device"), Roughly(minutes*60)))
	}
	return notes
}

// Roughly writes a time that nobody needs to know to the second.
func Roughly(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d >= time.Hour:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%d min", (d+time.Minute/2)/time.Minute)
	default:
		return fmt.Sprintf("%d s", max(1, d/time.Second))
	}
}
