package tables_test

import (
	"strings"
	"testing"

	"github.com/twinfleet/twinfleet/internal/dashboard/tables"
	"github.com/twinfleet/twinfleet/report"
	"github.com/twinfleet/twinfleet/report/reporttest"
)

// While a run goes on its agents are shown as they stand, in the end as the record has them; of very many a page gets a bounded number.
func TestAgents(t *testing.T) {
	live := now(10)
	if got := tables.Of(live); len(got.Agents.Rows) != 0 || got.Agents.Line != "" || got.Answer.Agents != "" {
		t.Errorf("a run in one process has agents: %+v", got.Agents)
	}
	live.Standing.Agents = reporttest.Agents(4)
	over := inTheEnd()
	over.Run.Agents = reporttest.Agents(4)
	for name, e := range map[string]*tables.Evidence{"under way": live, "over": over} {
		got := tables.Of(e)
		var states []string
		for _, r := range got.Agents.Rows {
			states = append(states, r.Name+" "+r.State)
		}
		if text := strings.Join(states, ", "); text != "agent-2 lost, agent-3 slow, agent-4 unsure, agent-1 well" || got.Agents.Wrong != 3 || got.Answer.Agents != "1 of 4 agents lost" {
			t.Errorf("%s: %s; %d in trouble, %q", name, text, got.Agents.Wrong, got.Answer.Agents)
		}
		if doubt := got.Answer.Doubt; e.Over && doubt != "agent agent-2: lost in stage hold: nothing was heard of it for 3s" {
			t.Errorf("%s: it is believed: %q", name, doubt)
		}
		last := got.Agents.Rows[3]
		late := 1.0
		if e.Over {
			late = 3
		}
		if last.Connected != 999 || last.Devices != 1000 || last.Most != 0.35 || last.Lag != late || last.Clock != "-500µs ± 120µs" || last.Control != "7.0 kB/s" || last.Bad != 90 {
			t.Errorf("%s: %+v", name, last)
		}
	}
	live.Standing.Agents = reporttest.Agents(1000)
	if got := tables.Of(live).Agents; len(got.Rows) != 200 || got.More != "800 more agents, all well" || got.Wrong != 3 {
		t.Errorf("%d rows and %q, %d in trouble", len(got.Rows), got.More, got.Wrong)
	}
	live.Standing.Agents = []report.Agent{{Name: "new"}} // that was not heard of yet
	if got := tables.Of(live).Agents.Rows[0]; got.State != "well" || got.Clock != "–" || got.Control != "–" {
		t.Errorf("%+v", got)
	}
}
