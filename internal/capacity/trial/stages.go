package trial

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"strconv"
	"time"

	"github.com/twinfleet/twinfleet/scenario"
)

// stage is one in the scenario of a trial.
type stage map[string]any

// longest is how long a stage may take that ends when everything is answered, or the target is as it was.
const (
	longestRest  = 2 * time.Minute
	longestClean = 5 * time.Minute
)

// at is a stage with what the target and the network do in the scenario's own.
func (b *Base) at(name string, d time.Duration) stage {
	s := stage{"name": name, "duration": d.String()}
	maps.Copy(s, b.carried)
	return s
}

func pause(name string) stage {
	return stage{"name": name, "duration": longestRest.String(), "paused": true}
}

// arrive is a stage in which devices come, of so many in all: numbers follow the size of the fleet, so that shares are told.
func arrive(name string, to, from, all int, rate float64) stage {
	share := "100%"
	if to < all {
		share = strconv.FormatFloat(100*float64(to)/float64(all), 'f', 9, 64) + "%"
	}
	return stage{"name": name, "devices": share, "connect_rate": perSecond(rate), "duration": arrival(to-from, rate).String()}
}

// arrival is how long so many devices take to come at a rate, with one more for the rounding of shares.
func arrival(n int, rate float64) time.Duration {
	return time.Duration(math.Ceil(float64(max(n, 0)+1)/rate*1000)) * time.Millisecond
}

// bringUp is at which rate devices come, where that is not what is varied.
func (b *Base) bringUp() float64 {
	if b.o.ConnectRate > 0 {
		return b.o.ConnectRate
	}
	return max(rampRate(b.Scenario), 0.01)
}

// stages are those of a trial, and further keys that they need.
func (b *Base) stages(t *Trial, first float64, devices *int) (all []stage, set []string) {
	if b.Vary == ConnectRate {
		return b.connecting(t, first, devices), b.quiet(true, true)
	}
	n := *devices
	load, drain, clean := b.at(Hold, t.Hold), b.at(stageDrain, b.drainFor()), b.at(stageClean, longestClean)
	b.others(t.Load, load, drain)
	b.others(first, clean)
	switch b.Vary {
	case ReportRate, TelemetryRate:
		key := string(b.Vary)
		load[key], drain[key], clean[key] = perSecond(t.Load), perSecond(overload*t.Load), perSecond(first)
		set = b.quiet(b.Vary == ReportRate, b.Vary == TelemetryRate)
	case Devices:
		for key, each := range map[string]float64{"report_rate": b.reports, "telemetry_rate": b.sends} {
			if each > 0 {
				drain[key] = perSecond(overload * each * t.Load) // beside what devices do on their own
			}
		}
		t.Drains = t.Drains && (b.reports > 0 || b.sends > 0)
	}
	for _, s := range []stage{load, drain, clean} {
		if s["report_rate"] != nil || s["telemetry_rate"] != nil {
			s["arrivals"] = b.steady.Arrivals
		}
	}
	settle := stage(maps.Clone(load))
	settle["name"], settle["duration"] = stageSettle, t.Settle.String()
	from := 0
	if t.Cleans && b.Vary == Devices {
		if from = int(first); from < n {
			all = append(all, arrive(stageFirst, from, 0, n, b.bringUp()), clean)
		} else {
			from, t.Cleans = 0, false
		}
	}
	all = append(all, arrive(stageConnect, n, from, n, b.bringUp()), pause(stageGather))
	if t.Cleans && b.Vary != Devices {
		all = append(all, clean)
	}
	if t.Drains {
		all = append(all, drain, pause(stageRest))
	}
	return append(all, settle, load), set
}

// others are the rates that the scenario's own stage has beside the one that is varied. They are those of its own devices: of more devices they
// are more.
func (b *Base) others(devices float64, stages ...stage) {
	factor := 1.0
	if b.Vary == Devices {
		factor = devices / b.Own
	}
	for key, r := range map[Vary]*scenario.Range{ReportRate: b.steady.ReportRate, TelemetryRate: b.steady.TelemetryRate} {
		if r == nil || r.To == 0 {
			continue
		}
		for _, s := range stages {
			s[string(key)] = perSecond(r.To * factor)
		}
	}
}

// connecting are the stages of a trial that is about connecting: each has as many devices as come at its rate.
func (b *Base) connecting(t *Trial, first float64, devices *int) (all []stage) {
	type part struct {
		name     string
		from, to int
		rate     float64
	}
	var parts []part
	n := 0
	come := func(name string, rate float64, d time.Duration) {
		before := n
		n += max(1, int(math.Ceil(rate*d.Seconds())))
		parts = append(parts, part{name, before, n, rate})
	}
	const sample = 20 * time.Second
	if t.Cleans {
		come(stageClean, first, sample)
	}
	if t.Drains {
		come(stageDrain, overload*t.Load, b.drainFor())
		parts = append(parts, part{name: stageRest})
	}
	come(stageSettle, t.Load, t.Settle)
	come(Hold, t.Load, t.Hold+t.Hold/10) // it is left when its time is over
	for _, x := range parts {
		if x.rate == 0 {
			all = append(all, pause(x.name))
			continue
		}
		s := arrive(x.name, x.to, x.from, n, x.rate)
		maps.Copy(s, b.carried)
		all = append(all, s)
	}
	*devices = n
	return all
}

// service is the service side of a trial: what it does on its own schedules, in the stages of the load.
func (b *Base) service(t *Trial, first float64) (set []string, err error) {
	own, ok := b.source["service"].(map[string]any)
	if !ok {
		return nil, nil
	}
	if b.Vary == ConnectRate {
		return []string{"service={}"}, nil
	}
	for _, key := range []string{"rollouts", "jobs"} {
		if own[key] != nil {
			set = append(set, "service."+key+"=[]")
		}
	}
	for key, v := range map[string]Vary{"queries": QueryRate, "methods": MethodRate, "twin_reads": TwinReadRate} {
		items, ok := own[key].([]any)
		if !ok || len(items) == 0 {
			continue
		}
		factor := 1.0
		if b.Vary == v {
			factor = t.Load / b.Own
		}
		var list []map[string]any
		for _, item := range items {
			x, ok := item.(map[string]any)
			if !ok {
				continue
			}
			list = append(list, b.item(key, x, "", factor, stageSettle, Hold))
			if b.Vary == v && t.Cleans {
				list = append(list, b.item(key, x, stageClean, first/b.Own, stageClean))
			}
			if b.Vary == v && t.Drains {
				list = append(list, b.item(key, x, stageDrain, overload*factor, stageDrain))
			}
		}
		text, err := json.Marshal(list)
		if err != nil {
			return nil, fmt.Errorf("writing service.%s: %w", key, err)
		}
		set = append(set, "service."+key+"="+string(text))
	}
	return set, nil
}

// item is a query, method or twin read at a multiple of its rate, in some stages; a suffix makes it another one.
func (b *Base) item(kind string, own map[string]any, suffix string, factor float64, stages ...string) map[string]any {
	x := maps.Clone(own)
	if suffix != "" {
		if name, ok := x["name"].(string); ok {
			x["name"] = name + "-" + suffix
		}
		delete(x, "expect")
	}
	x["stages"] = stages
	if factor == 1 {
		return x
	}
	if kind == "queries" {
		if x["cron"] == nil {
			x["every"] = time.Duration(float64(b.everyOf(own)) / factor).String()
		}
		return x
	}
	x["rate"] = perSecond(b.rateOfItem(kind, own) * factor)
	return x
}

// everyOf is how often a query starts.
func (b *Base) everyOf(own map[string]any) time.Duration {
	for i := range b.Scenario.Service.Queries {
		if q := &b.Scenario.Service.Queries[i]; q.Name == own["name"] && q.Every > 0 {
			return q.Every
		}
	}
	return 10 * time.Second
}

// rateOfItem is the rate of a method or twin read, at most.
func (b *Base) rateOfItem(kind string, own map[string]any) float64 {
	if kind == "methods" {
		for i := range b.Scenario.Service.Methods {
			if m := &b.Scenario.Service.Methods[i]; m.Name == own["name"] {
				return highest(m.Rate)
			}
		}
		return 0
	}
	for i := range b.Scenario.Service.TwinReads {
		if r := &b.Scenario.Service.TwinReads[i]; r.Group == own["group"] {
			return highest(r.Rate)
		}
	}
	return 0
}

// Expected is how long a trial takes in which nothing waits longer than it has to.
func (t *Trial) Expected() time.Duration {
	var sum time.Duration
	for i := range t.Scenario.Stages {
		switch s := &t.Scenario.Stages[i]; s.Name {
		case stageGather, stageRest:
			sum += 3 * time.Second
		case stageClean:
			sum += 6 * time.Second
		case stageSettle:
			sum += s.Duration / 4
		default:
			sum += s.Duration
		}
	}
	return sum
}
