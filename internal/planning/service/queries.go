package service

import (
	"math"
	"slices"

	"github.com/twinfleet/twinfleet/internal/iothub/registry"
	"github.com/twinfleet/twinfleet/internal/planning/demand"
	"github.com/twinfleet/twinfleet/metrics"
	"github.com/twinfleet/twinfleet/scenario"
	"github.com/twinfleet/twinfleet/schedule"
)

// answerBytes is what {"value":…,"ac":200,"av":2,"ad":"applied"} around a desired property takes.
const answerBytes = 60

// SetUp is what comes before the first stage.
func SetUp(sc *scenario.Scenario) []demand.Demand {
	if !sc.Target.Can().Service {
		return nil
	}
	made := 0
	for i := range sc.Fleet.Groups {
		if g := &sc.Fleet.Groups[i]; sc.Creates(g) {
			made += g.Count
		}
	}
	calls := float64((made + registry.MaxBulk - 1) / registry.MaxBulk)
	return []demand.Demand{{Operation: metrics.OpProvision, Total: calls, Devices: float64(made), Bytes: -1, About: mayShed(sc)}}
}

// mayShed tells whether the target throttles, so that calls may be repeated.
func mayShed(sc *scenario.Scenario) bool {
	return sc.Target.Can().Registry || sc.Target.Tier != ""
}

// queries run from the first stage to the last; the first stage also has the tags, and queries begin when all are
// set. What a query finds is not known before: at most the whole fleet.
func queries(sc *scenario.Scenario, s *demand.Part) []demand.Demand {
	var all []demand.Demand
	for i := range sc.Service.Queries {
		q := &sc.Service.Queries[i]
		if !demand.During(q.Stages, s) {
			continue
		}
		d := demand.Demand{
			Operation: metrics.OpQuery, Group: q.Name, PeakFor: s.Duration, Requests: pages(sc, q.PageSize), Finds: true,
			Bytes: sc.Devices() * demand.TwinBytes, Page: max(1, q.PageSize) * demand.TwinBytes,
		}
		if q.Cron != nil {
			mean, peak := clockwork(q.Cron)
			d.Total, d.Peak, d.About = s.Duration.Seconds()*mean, peak, true
		} else {
			d.Total, d.Peak = due(sc.Service.QueryTimes(i), s), 1/q.Every.Seconds()
			d.About = len(sc.Service.Tags) > 0 || s.Open
		}
		all = append(all, d)
	}
	if s.Number > 0 || s.Endless {
		return all
	}
	for i := range sc.Fleet.Groups {
		g := &sc.Fleet.Groups[i]
		if tags := sc.Service.Tags[g.Name]; tags != nil {
			all = append(all, tagging(sc, g, tags)...)
		}
	}
	return append(all, demand.Demand{Operation: metrics.OpStatistics, Total: serviceSide(sc), Bytes: -1})
}

// due is how often something periodic that began with the run comes in a stage.
func due(e schedule.Every, s *demand.Part) float64 {
	if s.Endless {
		return s.Duration.Seconds() / e.Period.Seconds()
	}
	return float64(e.Due(s.End()-1) - e.Due(s.At-1))
}

// tagging is the calls that set tags on a group's devices: one a twin, or in bulk.
func tagging(sc *scenario.Scenario, g *scenario.Group, tags []byte) []demand.Demand {
	d := demand.Demand{Operation: metrics.OpTag, Group: g.Name, Total: float64(g.Count), Devices: float64(g.Count), Bytes: len(tags), About: mayShed(sc)}
	if sc.Service.TagMode == "bulk" {
		d.Total = float64((g.Count + registry.MaxBulk - 1) / registry.MaxBulk)
	}
	return []demand.Demand{d}
}

// serviceSide is 1 for a target that has one.
func serviceSide(sc *scenario.Scenario) float64 {
	if !sc.Target.Can().Service {
		return 0
	}
	return 1
}

func pages(sc *scenario.Scenario, size int) float64 {
	return math.Ceil(float64(sc.Devices()) / float64(max(1, size)))
}

// stepPage is the page size of queries that are steps.
const stepPage = 100

// steps are what the service side does once.
func steps(sc *scenario.Scenario, s *demand.Part) []demand.Demand {
	var all []demand.Demand
	for _, x := range s.Steps {
		switch {
		case x.Statistics != nil:
			all = append(all, demand.Demand{Operation: metrics.OpStatistics, Total: 1, Bytes: -1})
		case x.Tag != nil:
			if g := sc.Group(x.Tag.Group); g != nil {
				all = append(all, tagging(sc, g, x.Tag.Tags)...)
			}
		case x.Query != nil:
			name := x.Query.Name
			if name == "" {
				name = "step"
			}
			all = append(all, demand.Demand{
				Operation: metrics.OpQuery, Group: name, Total: 1, Requests: pages(sc, stepPage), Finds: true,
				Bytes: sc.Devices() * demand.TwinBytes, Page: stepPage * demand.TwinBytes,
				About: x.Query.Expect >= 0 && x.Query.Within > 0, // repeated until it is as expected
			})
		case x.Desired != nil:
			if g := sc.Group(x.Desired.Group); g != nil {
				d := demand.Demand{Operation: metrics.OpDesiredPatch, Group: g.Name, Total: float64(g.Count), Bytes: len(x.Desired.Properties)}
				all = append(all, d)
				all = append(all, told(sc, g, s, d)...)
			}
		}
	}
	return all
}

// told is what follows from desired properties that are written: those devices that are connected are told of them,
// and answer in reported if their group does.
func told(sc *scenario.Scenario, g *scenario.Group, s *demand.Part, d demand.Demand) []demand.Demand {
	i := slices.IndexFunc(sc.Fleet.Groups, func(x scenario.Group) bool { return x.Name == g.Name })
	part := s.CrowdOf(sc, i).Mean / float64(g.Count) * demand.Present(g)
	d.Total, d.Peak, d.About = d.Total*part, d.Peak*part, true
	notice, answer := d, d
	notice.Operation = "" // it counts for messages, and is an operation only in a rollout
	answer.Operation, answer.Bytes = metrics.OpTwinReport, d.Bytes+answerBytes
	if !g.Answer {
		return []demand.Demand{notice}
	}
	return []demand.Demand{notice, answer}
}
