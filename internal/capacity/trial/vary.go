// Package trial makes the trials of a capacity search: from a scenario and a load it derives the scenario of one trial, runs it with the
// engine of every run, and reads from the record whether the load was held, and what kept it from being.
package trial

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/report/human"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/scenario/plan"
)

// Vary is what a search makes more or less of.
type Vary string

// What can be varied.
const (
	Devices       Vary = "devices"        // active devices, each as the scenario has it
	ReportRate    Vary = "report_rate"    // reports a second of the whole fleet
	TelemetryRate Vary = "telemetry_rate" // messages a second of the whole fleet
	QueryRate     Vary = "query_rate"     // twin queries a second, of all the scenario's in proportion
	ConnectRate   Vary = "connect_rate"   // devices that connect a second
	MethodRate    Vary = "method_rate"    // direct methods a second, of all the scenario's in proportion
	TwinReadRate  Vary = "twin_read_rate" // twins that the service side reads a second, likewise
)

// All are what can be varied, in the order of the reference.
func All() []Vary {
	return []Vary{Devices, ReportRate, TelemetryRate, QueryRate, ConnectRate, MethodRate, TwinReadRate}
}

// Operation is the operation whose rate follows what is varied; "" for devices, which do several.
func (v Vary) Operation() metrics.Operation {
	switch v {
	case ReportRate:
		return metrics.OpTwinReport
	case TelemetryRate:
		return metrics.OpTelemetry
	case QueryRate:
		return metrics.OpQuery
	case ConnectRate:
		return metrics.OpConnect
	case MethodRate:
		return metrics.OpMethod
	case TwinReadRate:
		return metrics.OpTwinRead
	}
	return ""
}

// What says what a load is made of: "devices", "reports", "connects".
func (v Vary) What() string {
	switch v {
	case ReportRate:
		return "reports"
	case TelemetryRate:
		return "messages"
	case QueryRate:
		return "queries"
	case ConnectRate:
		return "connects"
	case MethodRate:
		return "direct methods"
	case TwinReadRate:
		return "twin reads"
	}
	return "devices"
}

// Text writes a load with its unit: "1,200 devices", "47.5 reports/s", "19.2 queries/min".
func (v Vary) Text(load float64) string {
	if v == Devices {
		return human.Number(int(load), "device")
	}
	number, per := rateOf(load)
	return number + " " + v.What() + per
}

// Number writes a load without what it is made of: "1,200", "47.5/s", "19.2/min".
func (v Vary) Number(load float64) string {
	if v == Devices {
		return human.Count(int(load))
	}
	number, per := rateOf(load)
	return number + per
}

// rateOf writes a rate and the time that it is told by: a minute when it is slow.
func rateOf(load float64) (number, per string) {
	if load > 0 && load < 1 {
		return significant(load * 60), "/min"
	}
	return significant(load), "/s"
}

// significant writes a number with four digits, or as many as stand before its point.
func significant(x float64) string {
	if x >= 1000 {
		return human.Count(int(x + 0.5))
	}
	return strconv.FormatFloat(x, 'g', 4, 64)
}

// ParseLoad reads a load: a whole number of devices, or a rate such as 50/s or 20/min.
func (v Vary) ParseLoad(s string) (float64, error) {
	text := strings.ReplaceAll(strings.TrimSpace(s), "_", "")
	if grouped := regexp.MustCompile(`^\d{1,3}(,\d{3})+(\D|$)`); grouped.MatchString(text) { // 12,000; not 1,5
		text = strings.ReplaceAll(text, ",", "")
	}
	if v == Devices {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return 0, fmt.Errorf("%q is no number of devices; write a whole number from 1, such as 500", s)
		}
		return float64(n), nil
	}
	per := 1.0
	for suffix, seconds := range map[string]float64{"/s": 1, "/m": 60, "/min": 60, "/h": 3600} {
		if number, ok := strings.CutSuffix(text, suffix); ok {
			text, per = number, seconds
			break
		}
	}
	x, err := strconv.ParseFloat(text, 64)
	if err != nil || !(x > 0 && x <= 1e9) {
		return 0, fmt.Errorf("%q is no rate; write a number above 0 with its time, such as 50/s or 20/min", s)
	}
	return x / per, nil
}

// own is the load that a scenario makes as it stands; 0 when it makes none. p is its plan.
func (v Vary) own(sc *scenario.Scenario, p *plan.Plan) float64 {
	sum := 0.0
	switch v {
	case Devices:
		return float64(sc.Devices())
	case QueryRate:
		for i := range sc.Service.Queries {
			if q := &sc.Service.Queries[i]; q.Every > 0 {
				sum += 1 / q.Every.Seconds()
			}
		}
		return sum
	case MethodRate:
		for i := range sc.Service.Methods {
			sum += highest(sc.Service.Methods[i].Rate)
		}
		return sum
	case TwinReadRate:
		for i := range sc.Service.TwinReads {
			sum += highest(sc.Service.TwinReads[i].Rate)
		}
		return sum
	case ConnectRate:
		return rampRate(sc)
	}
	if l := p.Find(v.Operation()); l != nil {
		return max(l.Steady, 0)
	}
	return 0
}

func highest(r *scenario.Range) float64 {
	if r == nil {
		return 0
	}
	return r.Peak()
}

// possible says why a scenario has nothing of a kind to vary, and what to do; "" when it has.
func (v Vary) possible(sc *scenario.Scenario) string {
	reports, messages := len(sc.Rated(true)) > 0 && sc.Target.Can().Twins, len(sc.Rated(false)) > 0
	switch {
	case v == ReportRate && !sc.Target.Can().Twins:
		return "a plain broker has no twins to report into; vary telemetry_rate, connect_rate or devices"
	case v == ReportRate && !reports:
		return "no group reports; give one reported: {connectivity: {type: cellular}}"
	case v == TelemetryRate && !messages:
		return "no group sends messages; give one telemetry: {payload: {…}}"
	case (v == QueryRate || v == MethodRate || v == TwinReadRate) && !sc.Target.Can().Service:
		return "a plain broker has no service side; vary telemetry_rate, connect_rate or devices"
	case v == QueryRate && v.own(sc, nil) == 0:
		return "the scenario has no query with every; give it one under service.queries"
	case v == MethodRate && v.own(sc, nil) == 0:
		return "the scenario calls no direct method; give it one under service.methods"
	case v == TwinReadRate && v.own(sc, nil) == 0:
		return "the service side reads no twin; give it service.twin_reads: [{group: …, rate: 1/s}]"
	}
	return ""
}

// rampRate is at which rate the scenario brings its devices up, at most.
func rampRate(sc *scenario.Scenario) float64 {
	steepest, active := 0.0, 0
	for i := range sc.Stages {
		t := &sc.Stages[i]
		if t.Devices < 0 {
			continue
		}
		way, course := float64(t.Devices-active), t.DeviceCurve(active)
		active = t.Devices
		switch {
		case course != nil:
			for at := time.Duration(0); at < t.Duration; at += max(time.Second, t.Duration/1000) {
				steepest = max(steepest, course.Climb(at, at+time.Second))
			}
		case way <= 0:
		case t.ConnectRate != nil:
			steepest = max(steepest, t.ConnectRate.Peak())
		default:
			steepest = max(steepest, way/max(t.Duration, time.Second).Seconds())
		}
	}
	return steepest
}
